"""Evaluations with made-up answers, as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openseek.evaluation.leaderboard import headline, row_scores, suite_rows
from openseek.evaluation.summary import score_row


def made_items(
    task: str, n: int, share: float, seed: int, choices: int = 4
) -> list[dict[str, Any]]:
    """Items of which a share is right; the same task has the same questions for every seed."""
    rng = np.random.default_rng([seed, *task.encode()])
    rows = []
    for i in range(n):
        gold = i % choices
        right = bool(rng.random() < share)
        picked = gold if right else (gold + 1) % choices
        logprobs = [-20.0 - float(x) for x in rng.random(choices)]
        logprobs[picked] = -10.0
        rows.append(
            {
                "id": f"{task}{i:04d}", "gold": gold, "logprobs": logprobs, "group": "",
                "tokens": [4] * choices, "chars": [12] * choices, "bytes": [12] * choices,
                "acc": int(right), "acc_norm": int(right), "picked": picked, "correct": right,
                "query": f"Question {i} of {task}?",
                "choices": [f"option {c} of {i}" for c in range(choices)],
            }
        )  # fmt: skip
    return rows


def write_evaluation(
    folder: Path, shares: dict[str, float], *, n: int = 200, seed: int = 0, suite: str = "demo",
    metrics: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write scores.json and items for tasks with the given shares of right answers."""
    (folder / "items").mkdir(parents=True)
    scores = []
    for task, share in shares.items():
        rows = made_items(task, n, share, seed)
        pq.write_table(pa.Table.from_pylist(rows), folder / f"items/{task}.parquet")
        scores.append(score_row(task, "acc_norm", rows))
    found = {"scores": scores, "headline": headline(row_scores(scores), suite), "missing": {}}
    (folder / "scores.json").write_text(json.dumps({**found, **(metrics or {})}))
    return folder


def all_tasks() -> list[str]:
    """The tasks of the twelve rows."""
    return [t for tasks in suite_rows().values() for t in tasks]
