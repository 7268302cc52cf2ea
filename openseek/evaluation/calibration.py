"""Calibration: is an option that gets 70 % right seven times in ten?

An item's confidence is the softmax over its options' log-likelihoods per byte, at the likeliest
one. Expected calibration error: sum over bins of the share of items in the bin times the distance
between their mean confidence and their share of right answers.

Source: Guo et al. (arXiv 1706.04599), section 2, with bins of equal width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openseek.evaluation.results import Evaluation

Json = dict[str, Any]
BINS = 10


def choice_probabilities(row: Mapping[str, Any]) -> list[float]:
    """Return the softmax over an item's log-likelihoods per byte."""
    per_byte = [s / max(1, n) for s, n in zip(row["logprobs"], row["bytes"], strict=True)]
    top = max(per_byte)
    weights = [math.exp(s - top) for s in per_byte]
    return [w / math.fsum(weights) for w in weights]


def calibration(rows: Iterable[Mapping[str, Any]], bins: int = BINS) -> Json | None:
    """Measure calibration over items; those without options are left out.

    Args:
        rows: Items with logprobs, bytes and gold.
        bins: Number of bins of equal width over [0, 1].

    Returns:
        ece; n; confidence and accuracy (means over all items); bins [{low, high, n, confidence,
        accuracy}], the empty ones left out. None without any item.
    """
    found: dict[int, list[tuple[float, bool]]] = {}
    for row in rows:
        if len(row.get("logprobs") or []) < 2:
            continue
        shares = choice_probabilities(row)
        best = max(shares)
        at = min(bins - 1, int(best * bins))
        found.setdefault(at, []).append((best, shares.index(best) == row["gold"]))
    n = sum(len(members) for members in found.values())
    if not n:
        return None
    table = [_bin(at, bins, found[at]) for at in sorted(found)]
    return {
        "ece": math.fsum(b["n"] / n * abs(b["confidence"] - b["accuracy"]) for b in table),
        "n": n,
        "confidence": math.fsum(b["n"] * b["confidence"] for b in table) / n,
        "accuracy": math.fsum(b["n"] * b["accuracy"] for b in table) / n,
        "bins": table,
    }


def _bin(at: int, bins: int, members: Sequence[tuple[float, bool]]) -> Json:
    n = len(members)
    return {
        "low": at / bins,
        "high": (at + 1) / bins,
        "n": n,
        "confidence": math.fsum(c for c, _ in members) / n,
        "accuracy": sum(right for _, right in members) / n,
    }


def evaluation_calibration(evaluation: Evaluation) -> Json | None:
    """Measure an evaluation's calibration over all its items, and of each task.

    Returns:
        What `calibration` returns, with by_task {task: ece}; None without items with options.
    """
    columns = ("logprobs", "bytes", "gold")
    items = {task: evaluation.items(task, columns) for task in evaluation.item_tasks}
    whole = calibration(row for rows in items.values() for row in rows)
    if whole is None:
        return None
    each = {task: calibration(rows) for task, rows in items.items()}
    return {**whole, "by_task": {task: c["ece"] for task, c in each.items() if c}}
