"""From items to numbers: task scores, group errors, the likelihood of the right option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from openseek.errors import PermanentError

Json = dict[str, Any]


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error (sample deviation over root n; None for one value)."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    spread = math.fsum((v - mean) ** 2 for v in values)
    return mean, math.sqrt(spread / (n - 1) / n)


def group_mean(members: Sequence[tuple[float, float | None]]) -> tuple[float, float | None]:
    """Average (value, error) pairs with equal weight: the error is sqrt(sum of squares) / k.

    (lighteval averages the errors themselves, which overstates that of MMLU sevenfold.)
    """
    k = len(members)
    value = math.fsum(v for v, _ in members) / k
    errors = [e for _, e in members if e is not None]
    if len(errors) < k:
        return value, None
    return value, math.sqrt(math.fsum(e * e for e in errors)) / k


def picked(row: Mapping[str, Any], metric: str) -> int:
    """Return the option that a metric takes for the model's answer; the first one of equals."""
    scores = list(row["logprobs"])
    if metric == "acc_norm":
        scores = [s / max(1, n) for s, n in zip(scores, row["chars"], strict=True)]
    return scores.index(max(scores))


def score_row(
    task: str, metric: str, rows: Sequence[Mapping[str, Any]], groups: Sequence[str] | None = None
) -> Json:
    """Sum up a task's items as a row of the score table.

    Args:
        task: Name of the task.
        metric: acc or acc_norm.
        rows: Items, with `metric` as 0 or 1, and their log-likelihoods.
        groups: The group of each item, whose means are averaged; None: all items count the same.

    Returns:
        task, metric, value, stderr, chance, n; all but n in [0, 1], stderr None for one item. The
        chance level of a generated answer is 0.

    Raises:
        PermanentError: An item lacks the metric; it never counts as zero.
    """
    lacking = [str(row.get("id", i)) for i, row in enumerate(rows) if row.get(metric) is None]
    if lacking or not rows:
        raise PermanentError(
            f"the metric {metric!r} is missing on {len(lacking)} of {len(rows)} items",
            where=f"task {task}, item {lacking[0]}" if lacking else f"task {task}",
        )
    values = [float(row[metric]) for row in rows]
    if groups is None:
        value, error = mean_and_error(values)
    else:
        members: dict[str, list[float]] = {}
        for group, v in zip(groups, values, strict=True):
            members.setdefault(group, []).append(v)
        value, error = group_mean([mean_and_error(v) for _, v in sorted(members.items())])
    chance = math.fsum(1 / len(c) if (c := row["logprobs"]) else 0.0 for row in rows) / len(rows)
    return {
        "task": task, "metric": metric, "value": value, "stderr": error, "chance": chance,
        "n": len(rows),
    }  # fmt: skip


def likelihood(rows: Sequence[Mapping[str, Any]]) -> Json:
    """Measure how likely the right option is: what moves before any accuracy does.

    Returns:
        p_gold: softmax over the options' log-likelihoods per byte, at the right one, with stderr;
        bits_per_byte: of the right option given the question.
    """
    chosen, bits, size = [], 0.0, 0
    for row in rows:
        per_byte = [s / max(1, n) for s, n in zip(row["logprobs"], row["bytes"], strict=True)]
        top = max(per_byte)
        weights = [math.exp(s - top) for s in per_byte]
        chosen.append(weights[row["gold"]] / math.fsum(weights))
        bits -= row["logprobs"][row["gold"]] / math.log(2)
        size += row["bytes"][row["gold"]]
    value, error = mean_and_error(chosen)
    return {"p_gold": value, "stderr": error, "bits_per_byte": bits / max(1, size)}
