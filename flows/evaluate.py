"""Evaluate a trained stage."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.engine import configure, run_dag
from openseek.config.pipeline import Stage


@flow(name="evaluate", log_prints=False)
def evaluate(
    stage: Stage = "integration",
    config: str = "configs/demo.yaml",
    run_name: str = "",
    overrides: list[str] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure a stage: bits per byte and benchmarks; changed evaluation settings retrain nothing.

    Args:
        stage: The stage to evaluate.
        config: Path of the YAML configuration.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes, e.g. `evaluation.max_samples=200`, one a line.
        force: Evaluate again although it is finished.

    Returns:
        Summary of the run.
    """
    resolved = configure(config, run_name, None, overrides or [])
    target = f"evaluate-{stage}"
    return run_dag(resolved, targets=[target], force=[target] if force else [])
