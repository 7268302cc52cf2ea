"""Whole optimizer steps of openseek-small-v1 through the pipeline's engine: are they within 22 GB?

bf16 weights, 1 x 512 tokens, activations recomputed; `lean` with moments and gradients in bf16,
`default` with fp32 ones. Where all six layers do not fit beside what runs, two and three of them
are measured, the rest is a line through both, and the row says so.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from harness import ROOT, Contender, Json, Row, run

PROGRAM = Path(__file__).resolve().parent / "programs" / "train_engine.py"
LIMIT_BYTES = 22e9
WHOLE = 1_394_625_792
WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "lean": ({"gradients": "bf16", "optimizer": {"moments": "bf16"}}, 20e9),
    "default": ({}, 34e9),
}
"""How to train, and what all six layers need beside what runs, in bytes."""


def engine_program(*args: str) -> Contender:
    """Make the contender that trains through our engine, in the environment of a rank."""
    from openseek.training.bootstrap import process_environment

    environment = process_environment(1)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = [f"{key}={value}" for key, value in environment.items()]
    command = (sys.executable, "-W", "ignore", str(PROGRAM), *args)
    return Contender("openseek", ("env", *settings, *command))


def measure(runs: int) -> list[Row]:
    """Take two steps each way; `runs` is not used."""
    del runs
    return [_measure(way) for way in WAYS]


def _measure(way: str) -> Row:
    train, needed_bytes = WAYS[way]
    if psutil.virtual_memory().available > needed_bytes:
        answer = _steps(0, train)
        peak = answer["peak_bytes"]
        answer["measured"] = "all layers"
    else:
        two, answer = _steps(2, train), _steps(3, train)
        slope = (answer["peak_bytes"] - two["peak_bytes"]) / (answer["total"] - two["total"])
        peak = answer["peak_bytes"] + slope * (WHOLE - answer["total"])
        answer["measured"] = "2 and 3 layers; the rest is a line through both"
        answer["bytes_per_weight"] = round(slope, 1)
    answer["peak_gb"] = round(answer.pop("peak_bytes") / 1e9, 2)
    answer["whole_gb"] = round(peak / 1e9, 2)
    answer["within_22_gb"] = peak < LIMIT_BYTES
    rate = 512 / answer["step_s"][-1]
    return Row("small-v1-step", way, rate, None, "tokens/s", None, answer, {})


def _steps(layers: int, train: dict[str, Any]) -> Json:
    with tempfile.TemporaryDirectory() as logs:
        program = engine_program("step", str(layers), json.dumps(train))
        return run(program, Path(logs) / "log").answer
