"""A bounded sample of items for people to read: what was asked, what one or two models made of it.

Where two models disagree comes first: there one sees what changed. The rest are drawn by their
ids, so that the same evaluations show the same items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from openseek.evaluation.calibration import choice_probabilities
from openseek.evaluation.comparison import paired_items
from openseek.evaluation.results import Evaluation, correctness

Json = dict[str, Any]
LIMIT = 200
TEXT_CHARS = 1200
CHOICE_CHARS = 300


def sample_items(
    evaluations: Sequence[Evaluation], *, limit: int = LIMIT, tasks: Sequence[str] = ()
) -> Json:
    """Draw items of one evaluation, or of two on the same items.

    Args:
        evaluations: One or two.
        limit: Most items over all tasks.
        tasks: Tasks to draw from; empty: all that every evaluation has.

    Returns:
        models [names]; items [{task, id, group, text, choices, gold, answers, disagree, models
        [{logprobs, p, picked, right, output}]}]; left_out and total: how many items there are more.

    Raises:
        DataError: Two evaluations have other items of a task.
    """
    common = [t for t in evaluations[0].item_tasks if all(t in e.item_tasks for e in evaluations)]
    wanted = [t for t in common if t in tasks] if tasks else common
    room = max(1, limit // max(1, len(wanted)))
    shown, total = [], 0
    for task in wanted:
        metric = str(evaluations[0].scores.get(task, {}).get("metric", "correct"))
        if len(evaluations) > 1:
            rows: list[Sequence[Json]] = list(paired_items(evaluations[0], evaluations[1], task))
        else:
            rows = [(row,) for row in evaluations[0].items(task)]
        total += len(rows)
        entries = [_entry(task, metric, answers) for answers in rows]
        shown += _drawn(entries, room)
    shown = shown[:limit]
    return {
        "models": [e.name for e in evaluations],
        "items": shown,
        "left_out": total - len(shown),
        "total": total,
    }


def _drawn(entries: list[Json], room: int) -> list[Json]:
    """Take up to half of the room for items that the models disagree on, then by the ids' hash."""
    order = sorted(entries, key=lambda e: hashlib.sha256(e["id"].encode()).digest())
    apart = [e for e in order if e["disagree"]][: max(1, room // 2)]
    rest = [e for e in order if e not in apart]
    return (apart + rest)[:room]


def _entry(task: str, metric: str, answers: Sequence[Mapping[str, Any]]) -> Json:
    item = answers[0]
    choices = [_clip(c, CHOICE_CHARS) for c in item.get("choices") or []]
    models = [_answer(a, metric) for a in answers]
    return {
        "task": task,
        "id": str(item["id"]),
        "group": str(item.get("group") or ""),
        "text": _clip(item.get("context") or item.get("query") or "", TEXT_CHARS),
        "choices": choices,
        "gold": item.get("gold") if choices else None,
        "answers": [_clip(a, CHOICE_CHARS) for a in (item.get("answers") or [])[:8]],
        "disagree": len({m["right"] for m in models}) > 1,
        "models": models,
    }


def _answer(row: Mapping[str, Any], metric: str) -> Json:
    logprobs = [round(float(x), 3) for x in row.get("logprobs") or []]
    found: Json = {"right": correctness(dict(row), metric) >= 0.5, "logprobs": logprobs}
    if logprobs:
        found["picked"] = row.get("picked")
        found["p"] = [round(p, 4) for p in choice_probabilities(row)]
    else:
        found["output"] = _clip(row.get("output") or "", TEXT_CHARS)
    return found


def _clip(text: object, limit: int) -> str:
    value = str(text)
    return value if len(value) <= limit else value[: limit // 2] + " … " + value[-limit // 2 :]
