"""The lines of `metrics.jsonl`, and their summary.

`metrics.jsonl` holds deterministic figures only, since it is part of the artifact: an interrupted
and an uninterrupted run write the same bytes. Speeds go to the progress display and to the step's
returned metrics.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_EVENTS = 500  # of a kind in the summary; metrics.jsonl has them all
MOST_DOCUMENTS = 64  # named for each skipped step


class MetricsFile:
    """`metrics.jsonl` of a run that may go on from a checkpoint.

    Args:
        path: The file.
        before: The lines of the steps before the checkpoint, if any.
    """

    def __init__(self, path: Path, before: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        path.write_bytes(before.read_bytes() if before else b"")
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: dict[str, Any]) -> None:
        """Append a line; what is not finite becomes null."""
        self._file.write(json.dumps(_finite(record), sort_keys=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def summarise(path: Path, points: int = 200) -> dict[str, Any]:
    """Sum up a `metrics.jsonl`.

    Args:
        path: The file.
        points: Most points in the curve; each is the mean of equally many steps.

    Returns:
        steps, loss_first, loss_last, loss_min; means over the last tenth: loss_tail, parts_tail,
        by_category_tail, expert_load_tail, router_entropy_tail, grad_norm_tail; skipped (step,
        tokens, reason, rewind, documents), rewinds (first and last step left out), alarms, curve.
    """
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    good = [r for r in records if r["loss"] is not None]
    events = {
        "skipped": [_skipped(r) for r in records if r["skipped"]][:MOST_EVENTS],
        "rewinds": _rewinds(records),
        "alarms": [
            {"step": r["step"], "tokens": r["tokens"], **alarm}
            for r in records
            for alarm in r.get("alarms", ())
        ][:MOST_EVENTS],
    }
    if not good:
        return {"steps": len(records), **events, "curve": []}
    losses = [r["loss"] for r in good]
    tail = good[-max(1, len(good) // 10) :]
    width = math.ceil(len(good) / points)
    chunks = [good[i : i + width] for i in range(0, len(good), width)]
    return {
        "steps": len(records),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "loss_min": min(losses),
        "loss_tail": _mean([r["loss"] for r in tail]),
        "by_category_tail": _mean_by([r["by_category"] for r in tail]),
        "parts_tail": _mean_by([r["parts"] for r in tail]),
        "expert_load_tail": _mean_by([r["expert_load"] for r in tail]),
        "router_entropy_tail": _mean_by([r["router_entropy"] for r in tail]),
        "grad_norm_tail": _mean([r["grad_norm"] for r in tail if r["grad_norm"] is not None]),
        **events,
        "curve": [_point(chunk) for chunk in chunks],
    }


def _skipped(record: dict[str, Any]) -> dict[str, Any]:
    documents = record.get("documents", [])
    return {
        "step": record["step"],
        "tokens": record["tokens"],
        "reason": record["skipped"],
        "rewind": record.get("rewind"),
        "documents": documents[:MOST_DOCUMENTS],
        "n_documents": len(documents),
    }


def _rewinds(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for r in records:
        if "rewind" in r:
            new = {"rewind": r["rewind"], "first": r["step"], "last": r["step"]}
            found.setdefault(r["rewind"], new)["last"] = r["step"]
    return [found[number] for number in sorted(found)]


def _point(chunk: list[dict[str, Any]]) -> dict[str, Any]:
    last = chunk[-1]
    return {
        "step": last["step"],
        "tokens": last["tokens"],
        "lr": last["lr"],
        "loss": _mean([r["loss"] for r in chunk]),
        "grad_norm": _mean([r["grad_norm"] for r in chunk if r["grad_norm"] is not None]),
        "by_category": _mean_by([r["by_category"] for r in chunk]),
        "parts": _mean_by([r["parts"] for r in chunk]),
        "expert_load": _mean_by([r["expert_load"] for r in chunk]),
        "router_entropy": _mean_by([r["router_entropy"] for r in chunk]),
        "router_bias": last["router_bias"],
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _mean_by(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    keys = sorted({k for row in rows for k in row})
    return {k: _mean([v for row in rows if (v := row.get(k)) is not None]) for k in keys}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
