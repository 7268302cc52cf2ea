"""Fill a `RunRecord` from artifacts: metrics, lineage, file lists and the training logs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from openseek.artifacts.files import FileSet
from openseek.report import fmt
from openseek.report.contamination import LISTING, read_listing
from openseek.report.evaluations import CHECKPOINT, add_evaluations
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping

ORDER = (
    "benchmarks", "ingest", "clean", "dedup", "lines", "substring", "label", "classifier",
    "domains", "score", "split", "decontaminate", "synthesise", "tokenizer", "tokenise", "mix",
    "train", "evaluate", "export", "report",
)  # fmt: skip
STAGES = ("foundation", "specialization", "integration")
KIND = re.compile(rf"^({'|'.join(ORDER)})(?:-.*)?$")
LAST_SECOND = 253_402_300_800  # the year 10,000, beyond which datetime does not go
LOG_LIMIT = 4000  # rows of a training log that are kept; a chart shows at most 400 points
FILE_LIMIT = 200  # files of a step that are listed


def kind_of(step: str) -> str:
    """Return the kind of a step, its name without the stage; unknown names are kept whole."""
    match = KIND.match(step)
    return match.group(1) if match else step


def collect(
    inputs: Mapping[str, FileSet],
    *,
    name: str,
    config: Json | None = None,
    dag: Mapping[str, Mapping[str, str]] | None = None,
    machine: Json | None = None,
    state: str = "done",
) -> RunRecord:
    """Describe a run by its artifacts.

    Args:
        inputs: Step -> its artifact.
        name: Name of the run.
        config: The resolved configuration.
        dag: Step -> logical input -> step; derived from the digests in the lineage if empty.
        machine: Facts about the machine; from the newest lineage if empty.
        state: State of the run.
    """
    order = list(dag or {})
    everything, inputs = inputs, {k: f for k, f in inputs.items() if not CHECKPOINT.match(k)}
    known = {
        digest: step
        for step, f in sorted(inputs.items())
        if (digest := dig(f.lineage, "content_digest"))
    }
    steps = []
    for step in sorted(
        inputs, key=lambda s: (order.index(s) if s in order else len(order), *_rank(s))
    ):
        edges = dict(dag[step]) if dag and step in dag else _edges(inputs[step], known, step)
        steps.append(_record(step, inputs[step], edges, "done"))
    for step in order:
        if step not in inputs and kind_of(step) != "report":
            edges = dict((dag or {}).get(step, {}))
            steps.append(StepRecord(step, kind_of(step), "pending", inputs=edges))
    add_evaluations(steps, everything)
    started = min((t for s in steps if (t := started_at(s))), default="")
    return RunRecord(
        name,
        state,
        dict(config or {}),
        steps,
        started,
        _wall(steps),
        dict(machine or _machine(steps)),
    )


def started_at(step: StepRecord) -> str:
    """Return when the attempt that made the artifact began, ISO 8601, or an empty string."""
    value = dig(step.lineage, "provenance.started", "provenance.started_at", "started")
    seconds = fmt.number(value)
    if seconds is not None:
        if not 0 <= seconds < LAST_SECOND:
            return ""
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    return str(value) if value else ""


def _record(step: str, files: FileSet, edges: dict[str, str], state: str) -> StepRecord:
    metrics = dict(files.meta)
    records = files.records()
    if kind_of(step) == "train" and (log := _log(files, [r.name for r in records])):
        metrics["curve"] = log  # finer than the summary's
    if LISTING in {r.name for r in records}:
        metrics["contamination"] = read_listing(files.local(LISTING))
    lineage = dict(files.lineage)
    listed = [asdict(r) for r in records[:FILE_LIMIT]]
    totals = {
        "n_files": len(records),
        "n_bytes": sum(r.size for r in records),
        "n_rows": sum(r.rows or 0 for r in records),
    }
    seconds = dig(lineage, "provenance.seconds", "provenance.duration_s", "seconds")
    if seconds is None:
        seconds = dig(metrics, "seconds")
    key = str(dig(lineage, "key") or "")
    return StepRecord(
        step,
        kind_of(step),
        state,
        key,
        seconds,
        edges,
        {**metrics, "_files": totals},
        lineage,
        listed,
    )


def _log(files: FileSet, names: Sequence[str]) -> list[Json]:
    """Read a train step's `metrics.jsonl`, thinned out to `LOG_LIMIT` rows."""
    if "metrics.jsonl" not in names:
        return []
    text = files.local("metrics.jsonl").read_text(encoding="utf-8")
    found = []
    for line in text.split("\n"):
        row = _row(line)
        if row:
            found.append(row)
    stride = -(-len(found) // LOG_LIMIT) if found else 1
    return found[::stride] + (found[-1:] if stride > 1 and (len(found) - 1) % stride else [])


def _row(line: str) -> Json | None:
    try:
        row = json.loads(line)
    except ValueError:  # the last line of a log that was cut off
        return None
    return row if isinstance(row, dict) else None


def _edges(files: FileSet, known: Mapping[str, str], step: str) -> dict[str, str]:
    inputs = mapping(files.lineage, "inputs")
    # An input is written as `digest` or, for a part of an artifact, as `digest:prefix`.
    made_by = {str(k): known.get(str(v).partition(":")[0]) for k, v in sorted(inputs.items())}
    return {k: s for k, s in made_by.items() if s and s != step}


def _rank(step: str) -> tuple[int, int, str]:
    kind = kind_of(step)
    stage = step[len(kind) + 1 :]
    at = STAGES.index(stage) if stage in STAGES else len(STAGES) if stage else -1
    place = ORDER.index(kind) if kind in ORDER else len(ORDER)
    # The stages follow one another: mix, train, evaluate of the first before mix of the second.
    return (ORDER.index("mix") if stage else place, at, f"{place:02d}{step}")


def _wall(steps: Sequence[StepRecord]) -> float | None:
    """Sum the seconds of all steps: what the run costs when nothing is cached."""
    seconds = [s.seconds for s in steps if isinstance(s.seconds, int | float)]
    return float(sum(seconds)) if seconds else None


def _machine(steps: Sequence[StepRecord]) -> Json:
    """Take machine facts from the provenance of the artifact that was made last."""
    latest = max(steps, key=lambda s: (started_at(s), s.name), default=None)
    if latest is None:
        return {}
    facts: dict[str, Any] = mapping(latest.lineage, "provenance.machine", "machine")
    for key in (
        "host",
        "cpu",
        "cores",
        "memory_bytes",
        "python",
        "openseek",
        "git_revision",
        "packages",
    ):
        value = dig(latest.lineage, f"provenance.{key}")
        if value is not None:
            facts.setdefault(key, value)
    return facts
