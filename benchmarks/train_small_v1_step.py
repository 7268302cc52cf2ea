"""A whole optimizer step of openseek-small-v1 through the pipeline's engine: is it within 22 GB?

bf16 weights, fp32 master weights and moments, 1 x 512 tokens, activations recomputed. Without the
memory for all six layers beside what runs, the first three are measured, and the row says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psutil
from harness import ROOT, Contender, Row, run

PROGRAM = Path(__file__).resolve().parent / "programs" / "train_engine.py"
LIMIT_BYTES = 22e9
NEEDED_BYTES = 33e9  # three layers took 16.5 GB, 23.7 bytes a weight


def engine_program(*args: str) -> Contender:
    """Make the contender that trains through our engine, in the environment of a rank."""
    from openseek.training.bootstrap import process_environment

    environment = process_environment(1)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = [f"{key}={value}" for key, value in environment.items()]
    command = (sys.executable, "-W", "ignore", str(PROGRAM), *args)
    return Contender("openseek", ("env", *settings, *command))


def measure(runs: int) -> list[Row]:
    """Take two steps; `runs` is not used."""
    del runs
    layers = 0 if psutil.virtual_memory().available > NEEDED_BYTES else 3
    with tempfile.TemporaryDirectory() as logs:
        usage = run(engine_program("step", str(layers)), Path(logs) / "log")
    answer = usage.answer
    answer["peak_gb"] = round(answer.pop("peak_bytes") / 1e9, 2)
    answer["bytes_per_weight"] = round(answer["peak_gb"] * 1e9 / answer["total"], 1)
    whole = answer["bytes_per_weight"] * 1.3946  # GB, for all six layers
    answer["whole_gb"] = round(answer["peak_gb"] if layers == 0 else whole, 1)
    answer["within_22_gb"] = answer["whole_gb"] < LIMIT_BYTES / 1e9
    rate = 512 / answer["step_s"][-1]
    return [Row("small-v1-step", "", rate, None, "tokens/s", None, answer, {})]
