"""Make a Prefect task of a step.

The store is the truth: a task whose step has a manifest returns a completed state named `Cached`;
Prefect's own cache and result storage stay out of it. Only small references pass between tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Completed

from openseek.errors import PermanentError, TransientError
from openseek.pipeline.observe import observer
from openseek.pipeline.run import Outcome, Pipeline, Ref
from openseek.units import format_seconds
from tasks import telemetry

Result = dict[str, Any]


async def _is_transient(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Retry only what may pass; a wrong config fails at once."""
    try:
        await state.aresult()
    except TransientError:
        return True
    except Exception:
        return False
    return False


def step_task(kind: str, *, tags: list[str], retries: int = 2, about: str) -> Task[..., Any]:
    """Define the task of a kind of step.

    Args:
        kind: Kind of the node, e.g. `train`.
        tags: Tags in the UI, and for concurrency limits.
        retries: Tries after a transient fault.
        about: Description in the UI.
    """

    @task(
        name=kind,
        description=about,
        tags=["openseek", *tags],
        retries=retries,
        retry_delay_seconds=5,
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
    def run_step(
        pipeline: Pipeline, node: str, upstream: Mapping[str, Result], fail_at: str = ""
    ) -> Any:
        if fail_at == node and (flow_run.run_count or 1) <= 1:
            raise PermanentError(
                "this failure was asked for by fail_at",
                where=node,
                mend="Retry the run: it passes on the second try.",
            )
        refs = {name: Ref(**ref) for name, ref in upstream.items()}
        observer().step_started(node)
        with telemetry.progress(pipeline, node):
            outcome = pipeline.execute(pipeline.node(node), refs)
        observer().step_finished(node, outcome)
        telemetry.publish(pipeline, outcome)
        # The state's message is what the run's log shows of it.
        name, took = "Completed", f"ran in {format_seconds(outcome.seconds)}"
        if outcome.state == "cached":
            name, took = "Cached", "was finished"
        message = f"{node} {took}: {outcome.manifest.folder}"
        return Completed(name=name, message=message, data=outcome.ref.to_json())

    return run_step


def outcome_of(pipeline: Pipeline, result: Result) -> Outcome:
    """Read the outcome behind a task's result back from the store."""
    ref = Ref(**result)
    manifest = pipeline.files(ref).manifest
    body = pipeline.store.read_ref(pipeline.config.name, ref.node) or {}
    return Outcome(ref, body.get("state", "cached"), body.get("seconds", 0.0), manifest)
