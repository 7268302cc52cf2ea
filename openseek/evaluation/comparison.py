"""Two checkpoints on the same items: differences with intervals, tests, and which items flipped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openseek.errors import DataError
from openseek.evaluation.leaderboard import FULL, suite_rows
from openseek.evaluation.results import Evaluation, correctness
from openseek.evaluation.statistics import (
    benjamini_hochberg,
    interval_and_p,
    mcnemar,
    paired_bootstrap,
)
from openseek.evaluation.summary import group_mean, mean_and_error

Json = dict[str, Any]
RESAMPLES = 10_000


def compare(
    first: Evaluation,
    second: Evaluation,
    *,
    tasks: Sequence[str] = (),
    suite: str = FULL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Json:
    """Compare two evaluations item by item.

    Differences are the second one's score less the first one's. A difference's interval and `p`
    come from a paired bootstrap over items (within the groups of a task that is a mean over
    groups), `mcnemar` from the items that flipped; `q` is McNemar's p adjusted over all tasks after
    Benjamini and Hochberg. The headline averages the rows of the suite that both can fill.

    Args:
        first: The evaluation that is compared with.
        second: The evaluation of interest.
        tasks: Tasks to compare; empty: all that both have.
        suite: Suite of the headline's rows.
        resamples: Draws of the bootstrap.
        seed: Seed of the bootstrap.

    Returns:
        first, second (names); tasks [{task, metric, n, first, second, difference, stderr, low,
        high, p, mcnemar, q, gained [ids], lost [ids]}]; rows and headline {first, second,
        difference, stderr, low, high, p}; not_compared [tasks that only one has].

    Raises:
        DataError: There is no common task, or the items of a task differ.
    """
    both = [t for t in first.item_tasks if t in second.item_tasks]
    wanted = list(tasks) or both
    lacking = [t for t in wanted if t not in both]
    if lacking or not wanted:
        told = ", ".join(lacking) or "any task"
        raise DataError(
            f"not both have the items of {told}", where=f"{first.name} and {second.name}",
            mend=f"Both have {', '.join(both) or 'none'}.",
        )  # fmt: skip
    found, draws = [], {}
    for number, task in enumerate(wanted):
        row, draws[task] = _compare_task(first, second, task, resamples, seed + number)
        found.append(row)
    adjusted = benjamini_hochberg({r["task"]: r["mcnemar"] for r in found})
    found = [{**r, "q": adjusted[r["task"]]} for r in found]
    rows, headline = _rows({r["task"]: r for r in found}, draws, suite)
    return {
        "first": first.name,
        "second": second.name,
        "tasks": found,
        "rows": rows,
        "headline": headline,
        "resamples": resamples,
        "not_compared": sorted({*first.item_tasks, *second.item_tasks} - set(wanted)),
    }


def paired_items(first: Evaluation, second: Evaluation, task: str) -> list[tuple[Json, Json]]:
    """Pair a task's items by their ids, in the first one's order.

    Raises:
        DataError: One has items that the other has not, or an item has another question.
    """
    ours, theirs = first.items(task), {i["id"]: i for i in second.items(task)}
    lacking = [i["id"] for i in ours if i["id"] not in theirs]
    further = set(theirs) - {i["id"] for i in ours}
    where = f"task {task}, {first.name} and {second.name}"
    if lacking or further:
        example = lacking[0] if lacking else min(further)
        raise DataError(
            f"the items differ: {len(lacking)} only in {first.name}, {len(further)} only in "
            f"{second.name}, such as {example}",
            where=where,
            mend="Evaluate both with the same benchmarks, seed and max_samples.",
        )
    pairs = [(i, theirs[i["id"]]) for i in ours]
    for a, b in pairs:
        changed = [k for k in ("query", "gold", "choices") if a.get(k) != b.get(k)]
        if changed:
            raise DataError(
                f"item {a['id']} has another {changed[0]} in {second.name}", where=where,
                mend="Evaluate both with the same benchmarks, or name the tasks to compare; cloze "
                "items depend on the tokenizer.",
            )  # fmt: skip
    return pairs


def _compare_task(
    first: Evaluation, second: Evaluation, task: str, resamples: int, seed: int
) -> tuple[Json, Any]:
    scores = [e.scores.get(task, {}) for e in (first, second)]
    metric = str(scores[0].get("metric", "correct"))
    if scores[1].get("metric", metric) != metric:
        raise DataError(
            f"scored by {metric} in {first.name} and by {scores[1]['metric']} in {second.name}",
            where=f"task {task}", mend="Evaluate both with the same version.",
        )  # fmt: skip
    pairs = paired_items(first, second, task)
    values = [(correctness(a, metric), correctness(b, metric)) for a, b in pairs]
    groups = _groups([a for a, _ in pairs], [a for a, _ in values], scores[0].get("value"))
    each = [[values[i] for i in members] for members in groups]
    differences = [[b - a for a, b in members] for members in each]
    difference, stderr = group_mean([mean_and_error(d) for d in differences])
    drawn = paired_bootstrap(differences, resamples=resamples, seed=seed)
    low, high, p = interval_and_p(drawn)
    gained = [a["id"] for (a, _), (x, y) in zip(pairs, values, strict=True) if y > x]
    lost = [a["id"] for (a, _), (x, y) in zip(pairs, values, strict=True) if y < x]
    row = {
        "task": task, "metric": metric, "n": len(pairs),
        "first": _mean([[a for a, _ in m] for m in each]),
        "second": _mean([[b for _, b in m] for m in each]),
        "difference": difference, "stderr": stderr, "low": low, "high": high, "p": p,
        "mcnemar": mcnemar(len(gained), len(lost)), "gained": gained, "lost": lost,
    }  # fmt: skip
    return row, drawn


def _groups(items: Sequence[Json], values: Sequence[float], score: float | None) -> list[list[int]]:
    """Return the items of each group where the task's score is the mean over groups, else all."""
    whole = [list(range(len(items)))]
    by_group: dict[str, list[int]] = {}
    for i, item in enumerate(items):
        by_group.setdefault(str(item.get("group") or ""), []).append(i)
    if len(by_group) < 2 or score is None:
        return whole
    macro = _mean([[values[i] for i in members] for members in by_group.values()])
    flat = math.fsum(values) / len(values)
    return list(by_group.values()) if abs(macro - score) < abs(flat - score) else whole


def _mean(groups: Sequence[Sequence[float]]) -> float:
    return math.fsum(math.fsum(g) / len(g) for g in groups) / len(groups)


def _rows(
    tasks: Mapping[str, Json], draws: Mapping[str, Any], suite: str
) -> tuple[dict[str, Json], Json | None]:
    """Average tasks to rows and rows to the headline; their draws are independent."""
    rows, drawn = {}, {}
    wanted = suite_rows(suite)
    for row, members in wanted.items():
        if all(t in tasks for t in members):
            drawn[row] = np.mean([draws[t] for t in members], axis=0)
            rows[row] = _averaged([tasks[t] for t in members], drawn[row])
    if not rows:
        return {}, None
    headline = _averaged(list(rows.values()), np.mean(list(drawn.values()), axis=0))
    return rows, {**headline, "rows": len(rows), "of": len(wanted)}


def _averaged(members: Sequence[Json], drawn: Any) -> Json:
    difference, stderr = group_mean([(m["difference"], m["stderr"]) for m in members])
    low, high, p = interval_and_p(drawn)
    return {
        "first": math.fsum(m["first"] for m in members) / len(members),
        "second": math.fsum(m["second"] for m in members) / len(members),
        "difference": difference, "stderr": stderr, "low": low, "high": high, "p": p,
    }  # fmt: skip
