"""Winogrande: whom a gap stands for (Sakaguchi et al. 2019, arXiv:1907.10641)."""

from __future__ import annotations

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row


def _item(row: Row) -> Item:
    if row["sentence"].count("_") != 1:
        raise DataError(f"the sentence must have one gap (_): {row['sentence'][:80]!r}")
    return Item(row["sentence"], (row["option1"], row["option2"]), int(row["answer"]) - 1)


def _format(item: Item) -> Prompt:
    context, _, rest = item.query.partition("_")
    return context, [f"{choice} {rest.strip()}" for choice in item.choices]


WINOGRANDE = Benchmark(
    name="winogrande",
    wheel="winogrande/winogrande_xl/validation",
    hub=("allenai/winogrande", "winogrande_xl", "validation"),
    licence="CC-BY-4.0",
    item=_item,
    format=_format,
)
