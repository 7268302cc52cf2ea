"""How well a scorer agrees with the grades of a teacher, and a labeller with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CERTAINTIES = (0.5, 0.7, 0.9)


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


def label_agreement(
    truth: NDArray[np.int64], probabilities: NDArray[np.floating], names: Sequence[str]
) -> dict[str, Any]:
    """Compare labels with the probabilities that a classifier gives to each.

    Args:
        truth: The right label of each document, an index into `names`.
        probabilities: (documents, labels).
        names: The labels.

    Returns:
        documents; accuracy; accuracy of the most frequent label; macro_f1, the mean over the labels
        that occur or are given; labels: name -> documents, precision, recall, f1; confusion, rows
        the right label; decided: least probability -> share of the documents whose first label
        reaches it, and the accuracy among those.
    """
    classes, n = len(names), len(truth)
    guess = probabilities.argmax(axis=1) if n else np.zeros(0, np.int64)
    sure = probabilities.max(axis=1) if n else np.zeros(0)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, guess), 1)
    by_label = {name: _of_label(confusion, at) for at, name in enumerate(names)}
    met = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    f1 = [told["f1"] for told, seen in zip(by_label.values(), met, strict=True) if seen]
    decided = {}
    for least in _CERTAINTIES:
        mine = sure >= least
        right = int((guess[mine] == truth[mine]).sum())
        decided[str(least)] = {
            "share": _share(int(mine.sum()), n), "accuracy": _share(right, int(mine.sum()))
        }  # fmt: skip
    return {
        "documents": n,
        "accuracy": _share(int(np.trace(confusion)), n),
        "accuracy_constant": _share(int(confusion.sum(axis=1).max(initial=0)), n),
        "macro_f1": round(float(np.mean(f1)), 4) if f1 else 0.0,
        "labels": by_label,
        "confusion": confusion.tolist(),
        "decided": decided,
    }


def _of_label(confusion: NDArray[np.int64], at: int) -> dict[str, Any]:
    right, given, there = confusion[at, at], confusion[:, at].sum(), confusion[at].sum()
    return {
        "documents": int(there),
        "precision": _share(int(right), int(given)),
        "recall": _share(int(right), int(there)),
        "f1": _share(2 * int(right), int(given + there)),
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
