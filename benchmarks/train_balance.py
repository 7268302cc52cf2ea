"""Largest over mean expert load of the demo's model, with and without the bias update."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import Row, run
from train_small_v1_step import engine_program

STEPS = 240
RATES = ("1e-3", "0")


def measure(runs: int) -> list[Row]:
    """Train once with each rate; `runs` is not used, for a seed's result never changes."""
    del runs
    found = {}
    with tempfile.TemporaryDirectory() as logs:
        for rate in RATES:
            contender = engine_program("balance", rate, str(STEPS))
            found[rate] = run(contender, Path(logs) / "log").answer
    with_update, without = (max(found[r]["max_over_mean"].values()) for r in RATES)
    agreement = {"with_update": found[RATES[0]], "without": found[RATES[1]]}
    row = Row("balance", "bias update off", with_update, without, "max/mean load",
              with_update / without, agreement, {})  # fmt: skip
    return [row]
