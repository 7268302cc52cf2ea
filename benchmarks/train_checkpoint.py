"""Seconds that a checkpoint takes from training: written beside the loop, and within it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import Row, run
from train_small_v1_step import engine_program

PRESETS = ("proxy-15m", "proxy-150m")


def measure(runs: int) -> list[Row]:
    """Take each preset once; a program makes three checkpoints of both kinds, in turns."""
    del runs
    rows = []
    with tempfile.TemporaryDirectory() as logs:
        for preset in PRESETS:
            found = run(engine_program("checkpoint", preset), Path(logs) / "log").answer
            beside, within = found["beside_s"] + found["slower_s"], found["within_s"]
            rows.append(Row(f"checkpoint {preset}", "within the loop", beside, within, "s",
                            beside / within, found, {}))  # fmt: skip
    return rows
