"""HellaSwag: which sentence follows (Zellers et al. 2019, arXiv:1905.07830)."""

from __future__ import annotations

import re

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row


def _item(row: Row) -> Item:
    if str(row["label"]) == "":
        raise DataError("label is empty", mend="Use the validation split; test has no labels.")
    meta = {"activity": row["activity_label"], "start": row["ctx_a"], "lead": row["ctx_b"]}
    return Item(row["ctx"], tuple(row["endings"]), int(row["label"]), meta)


def _clean(text: str) -> str:
    # WikiHow leaves marks such as [title] and [step] in the text.
    return re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).replace("  ", " ")


def _format(item: Item) -> Prompt:
    # OpenSeek's format ends in a space, which scoring moves into the continuation: two spaces.
    meta = item.meta
    context = f"{meta['activity']}: {meta['start']} {meta['lead'].capitalize()} "
    return _clean(context), [f" {_clean(c)}" for c in item.choices]


HELLASWAG = Benchmark(
    name="hellaswag",
    wheel="hellaswag/none/validation",
    hub=("Rowan/hellaswag", None, "validation"),
    licence="MIT",
    item=_item,
    format=_format,
)
