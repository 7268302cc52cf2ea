"""RL commonsense: hard questions of everyday knowledge with four choices.

The wrong choices must tempt somebody who only matches words. Solutions that do not see the key vote
on the letter, and the row stays only if their winner is the key. The row keeps {query, final}.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes import problems
from openseek.synthesis.recipes.wording import Text, Texts, need, prompt, short
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "rl_commonsense"
VERSION = 1
GIVES = "knowledge:commonsense"

_LETTERS = "ABCD"
_USER = {
    "en": """Write one hard question of everyday reasoning on these topics: {topics}
It must need these key points: {key_points}

Describe a situation in two to four sentences and ask something that is not said in it but follows \
for somebody who knows how the world works. Give one right answer and three wrong ones. Each wrong \
one must look right to somebody who only matches words, and be wrong for a clear reason.

Examples of questions:
{exemplars}

Shape: {{"question": "...", "right": "...", "wrong": ["...", "...", "..."]}}""",
    "zh": """请就以下主题编写一道较难的常识推理题：{topics}
题目必须用到这些知识点：{key_points}

用两到四句描述一个情境，然后提出一个文中没有说明、但懂得世事的人能够推出的问题。给出一个正确答案和三个错误\
答案。每个错误答案都要让只会匹配字词的人误以为正确，同时有明确的错误理由。

问题的例子：
{exemplars}

格式：{{"question": "...", "right": "...", "wrong": ["...", "...", "..."]}}""",
}
_FORM = {"en": ": the letter of the right choice", "zh": "：正确选项的字母"}
_LETTER = re.compile(r"(?:^|[^A-Za-z])\(?([A-Da-d])(?:[^A-Za-z]|$)")


class Question(BaseModel):
    """The answer's shape."""

    question: Text
    right: Text
    wrong: Annotated[Texts, Field(min_length=3)]


def ballot(answer: str) -> str:
    """Read the letter of a choice."""
    found = _LETTER.search(short(answer))
    return found[1].upper() if found else ""


def lay_out(question: Question, name: str) -> tuple[str, str]:
    """Write the question with its choices in an order drawn by `name`.

    Returns:
        The text and the letter of the right choice.

    Raises:
        RowFailure: Two choices are the same.
    """
    choices = [c.strip() for c in (question.right, *question.wrong[:3])]
    if len({c.lower() for c in choices}) < len(_LETTERS):
        raise RowFailure("same_choices", "two of the four choices are the same")
    order = list(range(len(_LETTERS)))
    random.Random(f"{NAME}/{name}").shuffle(order)
    lines = [f"{letter}. {choices[i]}" for letter, i in zip(_LETTERS, order, strict=True)]
    return "\n".join([question.question.strip(), *lines]), _LETTERS[order.index(0)]


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Write one question and have it solved without its key.

    Raises:
        RowFailure: same_choices, no_majority, `wrong_key`, or an answer has no valid shape.
    """
    lang = source.lang
    ask = prompt(
        f"{NAME}/write", lang, VERSION, problems.SYSTEM, _USER, Question,
        **problems.wishes(source),
    )  # fmt: skip
    made = await asker.ask(replace(ask, items=(3, 3)), Question)
    need(made.question, "no_problem")
    text, key = lay_out(made, source.id)
    won = await problems.vote(text, lang, asker, config, NAME, _FORM[lang], ballot)
    if ballot(won.final) != key:
        raise RowFailure("wrong_key", "the solutions choose another answer than its writer")
    extra = {**problems.lineage(source), "votes": won.votes, "share": won.share}
    answer = f"{key}. {made.right.strip()}"
    return [Row(text, answer, won.steps, extra, kind="rl", final=key)]
