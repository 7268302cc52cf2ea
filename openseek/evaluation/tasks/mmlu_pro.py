"""MMLU-Pro, up to ten options, as cloze and with letters (Wang et al. 2024, arXiv:2406.01574)."""

from __future__ import annotations

from dataclasses import replace

from openseek.evaluation.tasks.benchmark import Benchmark, Item, Row
from openseek.evaluation.tasks.formats import cloze_about, lettered_about


def _item(row: Row) -> Item:
    meta = {"subject": row["category"]}
    return Item(row["question"], tuple(row["options"]), int(row["answer_index"]), meta)


# One score over all items, as OpenSeek has it: its set is a single task.
MMLU_PRO = Benchmark(
    name="mmlu_pro",
    wheel="",
    hub=("TIGER-Lab/MMLU-Pro", None, "test"),
    licence="MIT",
    item=_item,
    format=cloze_about,
)

MMLU_PRO_MC = replace(MMLU_PRO, name="mmlu_pro_mc", data="mmlu_pro", format=lettered_about(""))
