"""The whole pipeline: sources to report."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.engine import configure, run_dag


@flow(name="pretrain", log_prints=False)
def pretrain(
    config: str = "configs/demo.yaml",
    run_name: str = "",
    seed: int | None = None,
    overrides: list[str] | None = None,
    force: list[str] | None = None,
    fail_at: str = "",
) -> dict[str, Any]:
    """Run every step from the sources to the report; finished steps are shown as Cached.

    Args:
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        seed: Seed of everything that is drawn; empty takes it from the configuration.
        overrides: Changes to the configuration, `key.path=value`, one a line.
        force: Steps to redo although they are finished, by name.
        fail_at: A step that fails on the run's first try, to practise Retry.

    Returns:
        Summary of the run.
    """
    resolved = configure(config, run_name, seed, overrides or [])
    return run_dag(resolved, force=force or [], fail_at=fail_at)
