"""ARC easy and challenge: science at school (Clark et al. 2018, arXiv:1803.05457)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark
from openseek.evaluation.tasks.formats import keyed, question


def _arc(name: str, subset: str) -> Benchmark:
    return Benchmark(
        name=name,
        wheel=f"ai2_arc/{subset}/validation",
        hub=("allenai/ai2_arc", subset, "test"),
        licence="CC-BY-SA-4.0",
        item=keyed("question"),
        format=question,
    )


ARC_EASY = _arc("arc_easy", "ARC-Easy")
ARC_CHALLENGE = _arc("arc_challenge", "ARC-Challenge")
