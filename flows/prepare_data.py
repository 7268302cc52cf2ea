"""Data only: sources to token shards."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.engine import configure, run_dag


@flow(name="prepare-data", log_prints=False)
def prepare_data(
    config: str = "configs/demo.yaml",
    run_name: str = "",
    overrides: list[str] | None = None,
    force: list[str] | None = None,
) -> dict[str, Any]:
    """Run the data steps, up to the token shards.

    Args:
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes to the configuration, `key.path=value`, one a line.
        force: Steps to redo although they are finished, by name.

    Returns:
        Summary of the run.
    """
    resolved = configure(config, run_name, None, overrides or [])
    return run_dag(resolved, targets=["tokenise"], force=force or [])
