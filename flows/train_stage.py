"""One stage of the curriculum, and all that it needs."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.engine import configure, run_dag
from openseek.config.pipeline import Stage


@flow(name="train-stage", log_prints=False)
def train_stage(
    stage: Stage = "foundation",
    config: str = "configs/demo.yaml",
    run_name: str = "",
    overrides: list[str] | None = None,
    force: bool = False,
    fail_at: str = "",
) -> dict[str, Any]:
    """Train up to one stage; earlier stages and the data are found cached if they are finished.

    Args:
        stage: The stage to train.
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes to the configuration, `key.path=value`, one a line.
        force: Train the stage again although it is finished.
        fail_at: A step that fails on the run's first try, to practise Retry.

    Returns:
        Summary of the run.
    """
    resolved = configure(config, run_name, None, overrides or [])
    target = f"train-{stage}"
    again = [target] if force else []
    return run_dag(resolved, targets=[target], force=again, fail_at=fail_at)
