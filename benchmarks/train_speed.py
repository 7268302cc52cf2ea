"""Forward, backward and AdamW of the 117M model, ours and transformers', in bf16 and fp32.

Tokens per CPU second of one core, the median over all steps of all rounds. The share of the peak
is the model's FLOPs (causal attention at half) over the best rate of a matrix product that any of
the processes of the run measured. Ours runs in the environment that the launcher gives to a rank,
transformers in a plain one; in bf16 also in ours, whose malloc thresholds help it too. The bound of
each round (`programs/train_bound.py`) says how much of the peak a step could reach at most.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, Contender, Json, Row, Usage, ours, run
from train_moe import in_environment

PROGRAM = Path(__file__).resolve().parent / "programs" / "train_model.py"
BOUND = PROGRAM.with_name("train_bound.py")
STEPS = {"transformers-eager": 1}  # of each process; 3 of the others
MALLOC = ", our malloc"
OURS = ("openseek", "openseek-compiled")
PEERS = ("transformers-eager", "transformers-grouped_mm")
WITH_MALLOC = tuple(f"{who}{MALLOC}" for who in PEERS)


def measure(runs: int) -> list[Row]:
    """Run everybody in turns, in both types."""
    rows = compare("openseek", "bf16", (*PEERS, *WITH_MALLOC), runs)
    return rows + compare("openseek", "fp32", PEERS, runs)


def compare(mine: str, kind: str, peers: Sequence[str], runs: int) -> list[Row]:
    """Run `mine` and its peers in turns; a row a peer.

    Args:
        mine: Ours, a name of `programs/train_model.py`.
        kind: bf16 or fp32.
        peers: Names of the same program; ending in `MALLOC`: with our malloc thresholds.
        runs: Rounds; everybody runs once in each.
    """
    found: dict[str, list[Usage]] = {}
    bounds: list[Json] = []
    with tempfile.TemporaryDirectory() as logs:
        for i in range(runs):
            for who in (mine, *peers):
                usage = run(_contender(who, kind), Path(logs) / "log")
                found.setdefault(who, []).append(usage)
                rate = _tokens_per_s([usage])
                text = f"train {kind}: run {i + 1} of {runs}, {who}: {rate:.0f} tokens/CPU-s"
                print(text, file=sys.stderr, flush=True)
            bounds.append(run(_bound(kind), Path(logs) / "log").answer)
    peak = max(u.answer["gemm_flop_s"] for usages in found.values() for u in usages)
    peak = max(peak, *(1e9 * b["gemm_gflop_s"] for b in bounds))
    bound = min(bounds, key=lambda b: b["step_s"])
    bound["best_share_of_gemm_peak"] = round(bound["flop"] / peak / bound["step_s"], 3)
    own = _figures(found[mine], peak)
    rows = []
    for who in peers:
        theirs = _figures(found[who], peak)
        agreement: Json = {"ours": own, "theirs": theirs, "gemm_gflop_s": round(peak / 1e9)}
        agreement["bound"] = bound
        rate, other = _tokens_per_s(found[mine]), _tokens_per_s(found[who])
        steps = {name: [u.answer["step_s"] for u in found[name]] for name in (mine, who)}
        rows.append(
            Row(f"train {kind}", who, rate, other, "tokens/CPU-s", rate / other, agreement, steps)
        )
    return rows


def _contender(who: str, kind: str) -> Contender:
    name = who.removesuffix(MALLOC)
    program = ours(PROGRAM, name, kind, str(STEPS.get(name, 3)))
    return in_environment(program, malloc=who != name or name in OURS, path=str(ROOT))


def _bound(kind: str) -> Contender:
    return in_environment(ours(BOUND, kind), malloc=True, path=str(ROOT))


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
