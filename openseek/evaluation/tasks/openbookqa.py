"""OpenBookQA: elementary facts, applied (Mihaylov et al. 2018, arXiv:1809.02789)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark
from openseek.evaluation.tasks.formats import keyed, plain

OPENBOOKQA = Benchmark(
    name="openbookqa",
    wheel="openbookqa/main/validation",
    hub=("allenai/openbookqa", "main", "validation"),
    licence="Apache-2.0",
    item=keyed("question_stem"),
    format=plain,
)
