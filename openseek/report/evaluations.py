"""What the record of a run takes from the artifacts of its evaluations, beside their metrics."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from openseek.artifacts.files import FileSet
from openseek.errors import OpenSeekError
from openseek.evaluation.board import build_board
from openseek.evaluation.browse import sample_items
from openseek.evaluation.contamination import read_flagged
from openseek.evaluation.results import SCORES, Evaluation
from openseek.report import fmt
from openseek.report.contamination import LISTING
from openseek.report.record import StepRecord, dig, mapping

log = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"^checkpoint-(?P<stage>.+)-(?P<step>\d+)$")
"""Name of an input that is the evaluation of a checkpoint within a stage."""

ITEM_LIMIT = 150  # items that are shown, some 3 KB each


def add_evaluations(steps: Sequence[StepRecord], inputs: Mapping[str, FileSet]) -> None:
    """Add to the last evaluation its board and a sample of items, to train steps their checkpoints.

    A report without them is still a report: what cannot be read is left out with a warning.

    Args:
        steps: The run's steps; their metrics are added to.
        inputs: Step -> its artifact; evaluations of checkpoints are named as `CHECKPOINT` says.
    """
    _add_checkpoints(steps, inputs)
    found = [
        s for s in steps
        if s.kind == "evaluate" and s.name in inputs
        and SCORES in {r.name for r in inputs[s.name].records()}
    ]  # fmt: skip
    if not found:
        return
    evaluations = [Evaluation(s.stage or s.name, inputs[s.name]) for s in found]
    last = found[-1].metrics
    with _left_out("board"):
        last["board"] = build_board(evaluations, flagged=_flagged(steps, inputs))
    with _left_out("browse"):
        last["browse"] = sample_items(evaluations[-2:], limit=ITEM_LIMIT)


@contextmanager
def _left_out(what: str) -> Iterator[None]:
    try:
        yield
    except (OpenSeekError, OSError, KeyError, ValueError, TypeError) as error:
        log.warning("report=left_out what=%s error=%s: %s", what, type(error).__name__, error)


def _flagged(
    steps: Sequence[StepRecord], inputs: Mapping[str, FileSet]
) -> dict[str, set[str]] | None:
    """Read which items decontamination found; None if it did not run."""
    step = next((s for s in steps if s.kind == "decontaminate" and s.name in inputs), None)
    if step is None or LISTING not in {r.name for r in inputs[step.name].records()}:
        return None
    return read_flagged(inputs[step.name].local(LISTING), list(mapping(step.metrics, "items")))


def _add_checkpoints(steps: Sequence[StepRecord], inputs: Mapping[str, FileSet]) -> None:
    trained = {s.stage: s for s in steps if s.kind == "train"}
    for name, files in inputs.items():
        match = CHECKPOINT.match(name)
        if match is None or match["stage"] not in trained:
            continue
        metrics = trained[match["stage"]].metrics
        step = int(match["step"])
        total, n_steps = (fmt.number(dig(metrics, key)) for key in ("tokens", "steps"))
        if total is None or not n_steps:
            continue
        entry = {"step": step, "tokens": total * step / n_steps, "metrics": dict(files.meta)}
        metrics.setdefault("evaluated", []).append(entry)
    for train in trained.values():
        if found := train.metrics.get("evaluated"):
            found.sort(key=lambda e: e["step"])
