"""How well a scorer agrees with the grades of a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(
    truth: NDArray[np.int64], scores: NDArray[np.floating], classes: int, keep_from: int
) -> dict[str, Any]:
    """Compare grades with scores on the same scale.

    Args:
        truth: The teacher's grades, from 0.
        scores: What the scorer says; rounded to the nearest grade where a grade is needed.
        classes: Number of grades.
        keep_from: Grade from which a document counts as good.

    Returns:
        documents; accuracy of the rounded score; accuracy of the most frequent grade, which a
        constant would reach; within_one; mean_error; precision, recall and f1 of the good ones;
        spearman (null where one side is constant); confusion, rows the teacher's grade.
    """
    guess = np.clip(np.rint(scores).astype(np.int64), 0, classes - 1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, guess), 1)
    n = len(truth)
    good, kept = truth >= keep_from, guess >= keep_from
    both = int((good & kept).sum())
    precision, recall = _share(both, int(kept.sum())), _share(both, int(good.sum()))
    return {
        "documents": n,
        "accuracy": _share(int(np.trace(confusion)), n),
        "accuracy_constant": _share(int(confusion.sum(axis=1).max()), n),
        "within_one": _share(int((np.abs(guess - truth) <= 1).sum()), n),
        "mean_error": round(float(np.abs(scores - truth).mean()), 4) if n else 0.0,
        "keep_from": keep_from,
        "precision": precision,
        "recall": recall,
        "f1": round(2 * precision * recall / (precision + recall), 4) if both else 0.0,
        "spearman": spearman(truth, scores),
        "confusion": confusion.tolist(),
    }


def spearman(a: NDArray, b: NDArray) -> float | None:
    """Return the rank correlation, ties at their mean rank; None where one side is constant."""
    if len(a) < 2:
        return None
    x, y = mean_ranks(a), mean_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return round(float((x * y).sum()) / scale, 4) if scale > 0 else None


def mean_ranks(values: NDArray) -> NDArray[np.float64]:
    """Rank values from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], np.float64)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
