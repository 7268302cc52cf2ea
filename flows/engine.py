"""Walk the DAG, one task a node, each called directly (a submitted task outlives a cancel)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from prefect import State, Task
from prefect.runtime import flow_run
from prefect.utilities.annotations import quote

from openseek import compute
from openseek.artifacts.files import Json
from openseek.config.load import load_config
from openseek.config.pipeline import PipelineConfig
from openseek.pipeline.dag import select
from openseek.pipeline.run import Pipeline
from openseek.pipeline.summary import summarise
from tasks import data, evaluation, training
from tasks.binding import outcome_of

TASKS: dict[str, Task[..., Any]] = {
    t.name: t
    for module in (data, training, evaluation)
    for t in vars(module).values()
    if isinstance(t, Task)
}


def configure(
    config: str, run_name: str, seed: int | None, overrides: Sequence[str]
) -> PipelineConfig:
    """Load a configuration with what the caller changed."""
    changes = list(overrides)
    if run_name:
        changes.append(f"name={run_name}")
    if seed is not None:
        changes.append(f"seed={seed}")
    return load_config(config, changes)


def run_dag(
    config: PipelineConfig,
    *,
    targets: Sequence[str] = (),
    force: Sequence[str] = (),
    fail_at: str = "",
) -> Json:
    """Run the DAG up to `targets` and return the summary of the run.

    Args:
        config: The resolved configuration.
        targets: Nodes to reach; empty runs all.
        force: Nodes to redo although they are finished.
        fail_at: Node that fails on the run's first try: a drill for operators and tests.
    """
    nonce = str(flow_run.id or "")
    provenance = {"flow_run": str(flow_run.id or ""), "flow_run_name": str(flow_run.name or "")}
    pipeline = Pipeline(config, dict.fromkeys(force, nonce), provenance=provenance)
    nodes = select(pipeline.nodes, targets)
    select(pipeline.nodes, force)  # a misspelt name is an error, not a no-op
    with pipeline.explained(f"run {config.name}"):
        pipeline.store.probe()
        pipeline.store.clear_dead_scratch()
        pipeline.write_run("running")
    results: dict[str, Any] = {}
    try:
        for node in nodes:
            if node.kind in ("train", "evaluate"):
                compute.shutdown()  # the cores and the memory belong to training now
            upstream = {i.node: results[i.node] for i in node.inputs.values()}
            step = TASKS[node.kind].with_options(name=node.name, task_run_name=node.name)
            made = step(quote(pipeline), node.name, upstream, fail_at)
            results[node.name] = made.result() if isinstance(made, State) else made
        pipeline.finish_followers()
    except BaseException:
        for follower in pipeline.followers:
            follower.kill()
        with suppress(OSError):  # on a full disk the first error is the one to see
            pipeline.write_run("failed")
        raise
    finally:
        compute.shutdown()
    summary = summarise(pipeline, [outcome_of(pipeline, r) for r in results.values()])
    with pipeline.explained(f"run {config.name}"):
        pipeline.write_run("done", summary=summary)
    return summary
