"""Evaluate a trained stage, or any checkpoint."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import Task, flow
from prefect.utilities.annotations import quote

from flows.engine import configure, run_dag
from openseek.config.pipeline import Stage
from openseek.pipeline.checkpoints import resolve
from openseek.pipeline.run import Pipeline
from tasks import evaluation


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


@flow(name="evaluate-checkpoint", log_prints=False)
def evaluate_checkpoint(
    model: str,
    config: str = "configs/demo.yaml",
    tokenizer: str = "",
    run_name: str = "",
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Measure any checkpoint under a run's evaluation settings, on its held-out documents.

    The steps that make evaluation sets and held-out documents run first if need be; the same
    weights under the same settings are evaluated once.

    Args:
        model: A folder (ours or Hugging Face's), RUN/STEP (`demo/train-foundation`, `demo/export`)
            or RUN/train-STAGE@STEPS, a checkpoint within a stage.
        config: Path of the YAML configuration.
        tokenizer: Folder of the model's tokenizer; empty: the model's own, else the run's.
        run_name: Name of the run; empty takes it from the configuration.
        overrides: Changes, e.g. `evaluation.max_samples=200`, one a line.

    Returns:
        key and state of the evaluation, scores, headline, bpb, missing.
    """
    resolved = configure(config, run_name, None, overrides or [])
    pipeline = Pipeline(resolved)
    pipeline.store.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=pipeline.store.scratch) as scratch:
        found = resolve(pipeline.store, model, Path(scratch))
        if tokenizer:
            found = replace(found, tokenizer=Path(tokenizer))
        needed = ["split", "benchmarks", *(["tokenizer"] if found.tokenizer is None else [])]
        run_dag(resolved, targets=needed)
        score: Task[..., Any] = evaluation.checkpoint
        result: Any = score(quote(pipeline), quote(found))
    return dict(result)
