"""CommonsenseQA: five related words (Talmor et al. 2019, arXiv:1811.00937)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark
from openseek.evaluation.tasks.formats import keyed, plain

# The challenge's table takes this row alone by plain accuracy.
COMMONSENSEQA = Benchmark(
    name="commonsenseqa",
    wheel="tau/commonsense_qa/none/validation",
    hub=("tau/commonsense_qa", None, "validation"),
    licence="MIT",
    item=keyed("question"),
    format=plain,
    metric="acc",
)
