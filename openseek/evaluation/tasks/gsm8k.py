"""GSM8K: school mathematics, five worked examples (Cobbe et al. 2021, arXiv:2110.14168)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Row
from openseek.evaluation.tasks.formats import generated

_MARKED = re.compile(r"#### (-?[0-9.,]+)")


def final_number(text: str) -> str | None:
    """Return the number after the first `#### `, without commas; None if there is none."""
    found = _MARKED.search(text)
    return found.group(1).replace(",", "") if found else None


def same_number(output: str, answers: Sequence[str]) -> dict[str, float]:
    """Score 1 if the first number after `#### ` is written as in the answer.

    Source: the quasi exact match of lighteval for this set, which OpenSeek's evaluation takes.
    """
    given = final_number(output.strip())
    return {"qem": float(given is not None and given in {final_number(a) for a in answers})}


def _item(row: Row) -> Item:
    if final_number(row["answer"]) is None:
        raise DataError(f"the answer does not end in '#### number': {row['answer'][-60:]!r}")
    return Item(row["question"], (), -1, {}, (row["answer"],))


GSM8K = Benchmark(
    name="gsm8k",
    wheel="gsm8k/gold_bpb_5shot",
    hub=("openai/gsm8k", "main", "test"),
    licence="MIT",
    item=_item,
    format=generated,
    metric="qem",
    kind="generate",
    stops=("Question:", "Question"),
    max_tokens=256,
    judge=same_number,
    shots=5,
)
