"""Forward, backward and AdamW of the 117M model, ours and transformers', in bf16 and fp32.

Tokens per CPU second of one core, the median over all steps of all rounds. The share of the peak
is the model's FLOPs (causal attention at half) over the best rate of a matrix product that any of
the processes of the run measured. Ours runs in the environment that the launcher gives to a rank.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import ROOT, Contender, Json, Row, Usage, run

PROGRAM = Path(__file__).resolve().parent / "programs" / "train_model.py"
STEPS = 5  # of each process
PEERS = ("transformers-eager", "transformers-grouped_mm")


def measure(runs: int, mine: str = "openseek") -> list[Row]:
    """Run everybody in turns, in both types."""
    return [row for kind in ("bf16", "fp32") for row in _compare(mine, kind, runs)]


def _compare(mine: str, kind: str, runs: int) -> list[Row]:
    found: dict[str, list[Usage]] = {}
    with tempfile.TemporaryDirectory() as logs:
        for i in range(runs):
            for who in (mine, *PEERS):
                usage = run(_contender(who, kind), Path(logs) / "log")
                found.setdefault(who, []).append(usage)
                rate = _tokens_per_s([usage])
                text = f"train {kind}: run {i + 1} of {runs}, {who}: {rate:.0f} tokens/CPU-s"
                print(text, file=sys.stderr, flush=True)
    peak = max(u.answer["gemm_flop_s"] for usages in found.values() for u in usages)
    ours = _figures(found[mine], peak)
    rows = []
    for who in PEERS:
        theirs = _figures(found[who], peak)
        agreement = {"ours": ours, "theirs": theirs, "gemm_gflop_s": round(peak / 1e9)}
        rate, other = _tokens_per_s(found[mine]), _tokens_per_s(found[who])
        steps = {name: [u.answer["step_s"] for u in found[name]] for name in (mine, who)}
        rows.append(
            Row(f"train {kind}", who, rate, other, "tokens/CPU-s", rate / other, agreement, steps)
        )
    return rows


def _contender(who: str, kind: str) -> Contender:
    from openseek.training.bootstrap import process_environment

    environment = process_environment(1)
    if not who.startswith("openseek"):  # a user of transformers sets the threads, not malloc
        environment = {k: v for k, v in environment.items() if not k.startswith("MALLOC")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = [f"{key}={value}" for key, value in environment.items()]
    command = (sys.executable, "-W", "ignore", str(PROGRAM), who, kind, str(STEPS))
    return Contender(who, ("env", *settings, *command))


def _tokens_per_s(usages: list[Usage]) -> float:
    answer = usages[0].answer
    steps = [s for u in usages for s in u.answer["step_s"]]
    return float(answer["tokens"] / statistics.median(steps))


def _figures(usages: list[Usage], peak: float) -> Json:
    rate = _tokens_per_s(usages)
    figures: dict[str, Any] = {
        "tokens_per_cpu_s": round(rate, 1),
        "share_of_gemm_peak": round(rate * usages[0].answer["flop_per_token"] / peak, 3),
        "peak_mb": round(max(u.answer["peak_bytes"] for u in usages) / 1e6),
        "loss": round(usages[-1].answer["loss"], 4),
    }
    return figures
