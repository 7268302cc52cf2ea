"""What the Prefect UI shows of a step: progress while it runs, tables and plots when it is done.

None of it matters to the run: a failure here is logged and never stops the work.
"""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from openseek.pipeline.observe import observer
from openseek.pipeline.run import Outcome, Pipeline
from openseek.report.steps import step_markdown, step_plots

log = logging.getLogger(__name__)

UPDATE_EVERY_S = 2.0


def _safely(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # telemetry must never kill the work
        log.warning("telemetry=failed what=%s error=%s: %s", what, type(error).__name__, error)
        return None


def artifact_key(*parts: str) -> str:
    """Build an artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


@contextmanager
def progress(pipeline: Pipeline, node: str) -> Iterator[None]:
    """Send the step's progress to the terminal and to a progress artifact."""
    shown: dict[str, Any] = {"id": None, "at": 0.0}

    def report(name: str, done: float, total: float, unit: str, info: dict[str, Any]) -> None:
        observer().step_progress(name, done, total, unit, info)
        now = time.monotonic()
        if now - shown["at"] < UPDATE_EVERY_S and done < total:
            return
        shown["at"] = now
        percent = 100.0 * done / total if total else 100.0
        if shown["id"] is None:
            key = artifact_key(pipeline.config.name, node, "progress")
            shown["id"] = _safely(
                "progress",
                lambda: create_progress_artifact(percent, key=key, description=f"{node} ({unit})"),
            )
        elif isinstance(shown["id"], UUID):
            _safely("progress", lambda: update_progress_artifact(shown["id"], percent))

    before, pipeline.progress = pipeline.progress, report
    try:
        yield
    finally:
        pipeline.progress = before


def publish(pipeline: Pipeline, outcome: Outcome) -> None:
    """Show a finished step: a summary, its main table, its plots."""
    node = outcome.ref.node
    run = pipeline.config.name
    metrics = outcome.manifest.metrics
    head = (
        f"**{node}** {outcome.state} · key `{outcome.ref.key[:12]}` · "
        f"{len(outcome.manifest.files)} files, {outcome.manifest.size:,} bytes\n\n"
    )
    kind = outcome.ref.step
    _safely(
        "markdown",
        lambda: create_markdown_artifact(
            head + step_markdown(metrics), key=artifact_key(run, node), description=node
        ),
    )
    if kind == "evaluate" and metrics.get("scores"):
        _safely(
            "table",
            lambda: create_table_artifact(
                metrics["scores"], key=artifact_key(run, node, "scores"), description=node
            ),
        )
    for name, uri in (_safely("plots", lambda: step_plots(metrics)) or {}).items():
        _safely("image", functools.partial(_image, artifact_key(run, node, name), uri))


def _image(key: str, uri: str) -> None:
    create_image_artifact(image_url=uri, key=key)
