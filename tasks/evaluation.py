"""Tasks that measure, release and tell."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from openseek.pipeline.checkpoints import Checkpoint, evaluate_checkpoint, upstream_of
from openseek.pipeline.run import Pipeline
from tasks import telemetry
from tasks.binding import step_task

evaluate = step_task("evaluate", tags=["evaluation"], about="Bits per byte and lighteval.")
export = step_task("export", tags=["release"], about="Write the Hugging Face folder.")
report = step_task("report", tags=["release"], about="Write the HTML report.")


@task(
    name="evaluate-checkpoint",
    description="Score any checkpoint.",
    tags=["openseek", "evaluation"],
    cache_policy=NO_CACHE,
    persist_result=False,
    log_prints=False,
)
def checkpoint(pipeline: Pipeline, model: Checkpoint) -> dict[str, Any]:
    """Evaluate a checkpoint under a run's settings and return its reference and scores."""
    upstream = upstream_of(pipeline, tokenizer=model.tokenizer is None)
    outcome = evaluate_checkpoint(pipeline, model, upstream)
    telemetry.publish(pipeline, outcome)
    metrics = outcome.manifest.metrics
    kept = {k: metrics.get(k) for k in ("scores", "headline", "bpb", "missing")}
    return {**outcome.ref.to_json(), "state": outcome.state, **kept}
