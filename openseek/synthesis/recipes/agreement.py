"""Whether an answer says the same as the reference that a document gave.

First by rule: equal numbers and enough shared words. Where the words do not show it, the teacher is
asked; the two texts are shown in an order fixed by their digest, so that no side is favoured.
"""

from __future__ import annotations

import hashlib
import re

from pydantic import BaseModel

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.wording import normal, prompt
from openseek.synthesis.teacher import Asker

VERSION = 1

_WORD = re.compile(r"\d+(?:\.\d+)?|[A-Za-z][A-Za-z]+|[\u3400-\u9fff]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_STOP_EN = (
    "the an of and to in is that for it as with on be by this are or at from which but not have "
    "has was were can will if when then than there their its they also into so more do does"
)
_STOP = frozenset(_STOP_EN.split()) | frozenset("的了是在和与也就都而及着或把被对从为")

_SYSTEM = {
    "en": "You compare answers. You answer with one JSON object and nothing else.",
    "zh": "你负责比较答案。你只输出一个 JSON 对象，不输出其他内容。",
}
_USER = {
    "en": """Do these two answers to the same question agree in what they claim? More detail in \
one of them is no disagreement; a contradiction, or another result, is.

Question: {query}

Answer A: {first}

Answer B: {second}

Shape: {{"reason": "one sentence", "agree": true}}""",
    "zh": """下面对同一问题的两个答案，其主张是否一致？其中一个更详细不算不一致；\
相互矛盾或结果不同则算不一致。

问题：{query}

答案甲：{first}

答案乙：{second}

格式：{{"reason": "一句话理由", "agree": true}}""",
}


class Verdict(BaseModel):
    """The answer's shape."""

    agree: bool
    reason: str = ""


def overlap(answer: str, reference: str) -> float:
    """Return the share of the reference's words, without stop words, that an answer has."""
    mine, theirs = _words(answer), _words(reference)
    return len(mine & theirs) / len(theirs) if theirs else 0.0


def _words(text: str) -> set[str]:
    return {w.lower() for w in _WORD.findall(text)} - _STOP


def by_rule(answer: str, reference: str, min_overlap: float) -> bool | None:
    """Tell by rule whether two answers agree; None: the rule cannot tell.

    A reference of at most four words that is a number is compared as such. Longer ones agree from
    `min_overlap` shared words on, if they share all numbers of the reference too.
    """
    if normal(answer) == normal(reference):
        return True
    numbers = set(_NUMBER.findall(reference))
    if numbers and len(_WORD.findall(reference)) <= 4:
        return numbers <= set(_NUMBER.findall(answer))
    enough = overlap(answer, reference) >= min_overlap
    return True if enough and numbers <= set(_NUMBER.findall(answer)) else None


async def agrees(
    query: str, answer: str, reference: str, lang: str, asker: Asker, config: RecipeConfig,
    recipe: str,
) -> bool:  # fmt: skip
    """Tell whether an answer agrees with the reference, by rule or by the teacher.

    Raises:
        RowFailure: The teacher's verdict has no valid shape.
    """
    known = by_rule(answer, reference, config.min_overlap)
    if known is not None or not config.ask_agreement:
        return bool(known)
    pair = sorted([answer, reference], key=lambda t: hashlib.sha256(t.encode()).digest())
    ask = prompt(
        f"{recipe}/agree", lang, VERSION, _SYSTEM, _USER, Verdict,
        query=query, first=pair[0], second=pair[1],
    )  # fmt: skip
    return (await asker.ask(ask, Verdict)).agree
