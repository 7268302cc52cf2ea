"""Largest over mean expert load of the demo's model, with the bias update and without.

The mean over the last 50 of 240 steps, for the worse of its two MoE layers; with the update at the
preset's rate and at others, to choose by, each with the loss that it ends at.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness import Json, Row, run
from train_small_v1_step import engine_program

STEPS = 240
RATES = ("preset", "1e-3", "1e-2")
EVEN = 1.5


def measure(runs: int) -> list[Row]:
    """Train once with each rate and once without; `runs` is not used: a result never changes."""
    del runs
    without = _train("0")
    rows = []
    for rate in RATES:
        found = _train(rate)
        mine, theirs = _worst(found), _worst(without)
        agreement = {
            "with_update": found,
            "without": without,
            "even_with_it_alone": mine < EVEN <= theirs,
        }
        name, ratio = f"update off, ours at {rate}", mine / theirs
        rows.append(Row("balance", name, mine, theirs, "max/mean load", ratio, agreement, {}))
    return rows


def _train(rate: str) -> Json:
    with tempfile.TemporaryDirectory() as logs:
        answer = run(engine_program("balance", rate, str(STEPS)), Path(logs) / "log").answer
    print(f"balance: rate {rate}: {answer}", file=sys.stderr, flush=True)
    return answer


def _worst(answer: Json) -> float:
    return float(max(answer["max_over_mean"].values()))
