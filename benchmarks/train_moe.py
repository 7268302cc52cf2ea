"""Forward and backward of one MoE layer in bf16, ours and torchtitan's, with the same weights.

2 x 1024 tokens, width 512, 64 experts of width 128 of which 6 are chosen, one shared. Tokens per
CPU second of one core. torchtitan runs in the environment that our launcher gives to a rank, and in
a plain one. `make bench` installs it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from harness import ROOT, Contender, Json, Row, Usage, ours, peer, run

PROGRAM = Path(__file__).resolve().parent / "programs" / "train_moe.py"
STEPS = 20  # of each process
PLAIN, MALLOC = "torchtitan", "torchtitan, our malloc"


def in_environment(contender: Contender, *, malloc: bool, path: str = "") -> Contender:
    """Give a contender one thread, our malloc thresholds if asked for, and a module path."""
    from openseek.training.bootstrap import process_environment

    environment = process_environment(1)
    if not malloc:
        environment = {k: v for k, v in environment.items() if not k.startswith("MALLOC")}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])
    settings = [f"{key}={value}" for key, value in environment.items()]
    return replace(contender, command=("env", *settings, *contender.command))


def measure(runs: int) -> list[Row]:
    """Run everybody in turns."""
    titan = peer(PLAIN, PROGRAM, "torchtitan", str(STEPS), package="torchtitan")
    contenders = [
        in_environment(ours(PROGRAM, "openseek", str(STEPS)), malloc=True, path=str(ROOT)),
        in_environment(titan, malloc=False),
        in_environment(replace(titan, name=MALLOC), malloc=True),
    ]
    found: dict[str, list[Usage]] = {}
    with tempfile.TemporaryDirectory() as logs:
        for i in range(runs):
            for one in contenders:
                if one.missing:
                    continue
                found.setdefault(one.name, []).append(run(one, Path(logs) / "log"))
                rate = _rate(found[one.name][-1:])
                text = f"moe: run {i + 1} of {runs}, {one.name}: {rate:.0f} tokens/CPU-s"
                print(text, file=sys.stderr, flush=True)
    mine, *others = contenders
    return [_row(found[mine.name], one, found.get(one.name, [])) for one in others]


def _row(mine: list[Usage], one: Contender, theirs: list[Usage]) -> Row:
    rate = _rate(mine)
    if not theirs:
        missing = {"missing": one.missing}
        return Row("moe layer bf16", one.name, rate, None, "tokens/CPU-s", None, missing, {})
    other = _rate(theirs)
    agreement = {"ours": _figures(mine), "theirs": _figures(theirs)}
    steps = {"ours": [u.answer["step_s"] for u in mine]}
    steps["theirs"] = [u.answer["step_s"] for u in theirs]
    return Row(
        "moe layer bf16", one.name, rate, other, "tokens/CPU-s", rate / other, agreement, steps
    )


def _rate(usages: list[Usage]) -> float:
    steps = [s for u in usages for s in u.answer["step_s"]]
    return float(usages[0].answer["tokens"] / statistics.median(steps))


def _figures(usages: list[Usage]) -> Json:
    return {
        "peak_mb": round(max(u.answer["peak_bytes"] for u in usages) / 1e6),
        "mean_square": round(usages[-1].answer["mean_square"], 7),
    }
