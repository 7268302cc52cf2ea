"""The leaderboard of one or several evaluations, against what was published.

A row of the board is a row of the suite (a task, or the mean of a group of tasks); the headline is
the unweighted mean of the rows. Every figure comes with what it is worth:

    stderr      of a task over its items; of a mean of k, sqrt(sum of squares) / k
    low, high   Wilson's 95 % interval, with as many samples as give the row's standard error
    detectable  the smallest true difference to a second such score that would show

Published scores are data in leaderboard.yaml, each with its source. They came without errors:
theirs are estimated from the sizes of the sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from openseek.evaluation import leaderboard
from openseek.evaluation.calibration import evaluation_calibration
from openseek.evaluation.contamination import Flagged, split_score
from openseek.evaluation.results import Evaluation
from openseek.evaluation.statistics import Z95, detectable, effective_n, wilson
from openseek.evaluation.summary import group_mean

Json = dict[str, Any]


def build_board(
    evaluations: Sequence[Evaluation],
    *,
    suite: str = "",
    flagged: Flagged | None = None,
) -> Json:
    """Put evaluations and published scores together.

    Args:
        evaluations: One for each model, in the order of the board.
        suite: Suite of the rows; empty: the one of the first evaluation's headline.
        flagged: Task -> ids of items that were found in the corpus.

    Returns:
        suite; models [{name, about, headline, rows, others, missing, calibration}]; published
        [{name, about, source, mean, stderr, rows}]; against [{model, published, difference, stderr,
        rows}]. All scores are fractions in [0, 1].
    """
    if not suite:
        heads = [e.metrics.get("headline") or {} for e in evaluations]
        suite = next((h["suite"] for h in heads if h.get("suite")), leaderboard.FULL)
    models = [_model(e, suite, flagged or {}) for e in evaluations]
    known = [published_entry(p) for p in leaderboard.published()]
    same = leaderboard.suite_rows(suite) == leaderboard.suite_rows()
    against = [_against(m, p) for m in models for p in known] if same else []
    return {
        "suite": suite,
        "models": models,
        "published": known if same else [],
        "against": [a for a in against if a is not None],
    }


def with_error_bars(value: float, stderr: float | None, n: float) -> Json:
    """Add interval and smallest detectable difference to a score."""
    low, high = wilson(value, effective_n(value, stderr, n))
    return {
        "value": value, "stderr": stderr, "low": low, "high": high,
        "detectable": detectable(stderr), "n": n,
    }  # fmt: skip


def published_entry(entry: Mapping[str, Any]) -> Json:
    """Turn a published score into fractions, with estimated errors where its rows are known."""
    sizes = leaderboard.set_sizes()
    rows: dict[str, Json] = {}
    for row, percent in entry.get("rows", {}).items():
        p = percent / 100
        parts = [(p, math.sqrt(p * (1 - p) / n)) for n in sizes[row]]
        rows[row] = {"value": p, "stderr": group_mean(parts)[1], "n": sum(sizes[row])}
    known = [(r["value"], r["stderr"]) for r in rows.values()]
    return {
        "name": entry["name"],
        "about": entry["about"],
        "source": entry["source"],
        "mean": entry["mean"] / 100,
        "stderr": group_mean(known)[1] if known else None,
        "rows": rows,
    }


def _model(evaluation: Evaluation, suite: str, flagged: Flagged) -> Json:
    tasks = {name: _task(evaluation, score, flagged) for name, score in evaluation.scores.items()}
    wanted = leaderboard.suite_rows(suite)
    rows = {
        row: _group([tasks[t] for t in members])
        for row, members in wanted.items()
        if all(t in tasks for t in members)
    }
    in_rows = {t for row in rows for t in wanted[row]}
    return {
        "name": evaluation.name,
        "about": evaluation.about,
        "headline": _headline(rows, wanted),
        "rows": rows,
        "others": {name: task for name, task in tasks.items() if name not in in_rows},
        "missing": [row for row in wanted if row not in rows],
        "calibration": evaluation_calibration(evaluation),
    }


def _task(evaluation: Evaluation, score: Mapping[str, Any], flagged: Flagged) -> Json:
    found = with_error_bars(score["value"], score["stderr"], score["n"])
    found |= {"metric": score["metric"], "chance": score.get("chance"), "tasks": [score["task"]]}
    ids = flagged.get(score["task"])
    if ids is not None and score["task"] in evaluation.item_tasks:
        metric = score["metric"]
        rows = evaluation.items(score["task"], ("id", metric, "correct"))
        found |= split_score(rows, metric, ids)
    return found


def _group(members: Sequence[Json]) -> Json:
    """Average tasks into a row; a row of one task is that task."""
    if len(members) == 1:
        return members[0]
    value, stderr = group_mean([(m["value"], m["stderr"]) for m in members])
    chances = [m["chance"] for m in members]
    found = with_error_bars(value, stderr, sum(m["n"] for m in members))
    found["metric"] = ", ".join(dict.fromkeys(m["metric"] for m in members))
    found["chance"] = None if None in chances else math.fsum(chances) / len(members)
    found["tasks"] = [t for m in members for t in m["tasks"]]
    for side in ("clean", "flagged"):
        parts = [m[side] for m in members if m.get(side)]
        if len(parts) == len(members):
            value, stderr = group_mean([(p["value"], p["stderr"]) for p in parts])
            found[side] = {"value": value, "stderr": stderr, "n": sum(p["n"] for p in parts)}
    return found


def _headline(rows: Mapping[str, Json], wanted: Mapping[str, Any]) -> Json | None:
    if not rows:
        return None
    value, stderr = group_mean([(r["value"], r["stderr"]) for r in rows.values()])
    chances = [r["chance"] for r in rows.values()]
    return {
        "value": value,
        "stderr": stderr,
        "low": None if stderr is None else value - Z95 * stderr,
        "high": None if stderr is None else value + Z95 * stderr,
        "detectable": detectable(stderr),
        "chance": None if None in chances else math.fsum(chances) / len(rows),
        "n": sum(r["n"] for r in rows.values()),
        "rows": len(rows),
        "of": len(wanted),
        "complete": len(rows) == len(wanted),
    }


def _against(model: Json, entry: Json) -> Json | None:
    """Compare a model with a published score, over the rows that both have."""
    head = model["headline"]
    if head is None:
        return None
    if not entry["rows"]:
        if not head["complete"]:
            return None  # a mean over other rows is no measure of this one
        error = head["stderr"]
        difference, shared = head["value"] - entry["mean"], head["rows"]
    else:
        common = [r for r in model["rows"] if r in entry["rows"]]
        pairs = [(model["rows"][r], entry["rows"][r]) for r in common]
        each = [
            (ours["value"] - theirs["value"], _hypot(ours["stderr"], theirs["stderr"]))
            for ours, theirs in pairs
        ]
        difference, error = group_mean(each)
        shared = len(common)
    return {
        "model": model["name"],
        "published": entry["name"],
        "difference": difference,
        "stderr": error,
        "rows": shared,
        "of": head["of"],
    }


def _hypot(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)
