"""RL mathematics: problems whose answer a rule can compare.

Drawn like key_points, but asked for one number or expression, and kept with the share of solutions
that found it, so that a trainer can choose by difficulty. The row keeps {query, final}.
"""

from __future__ import annotations

import re

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes import problems
from openseek.synthesis.recipes.wording import need, normal, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "rl_math"
VERSION = 1
GIVES = "knowledge:math"

_USER = {
    "en": """Write one new problem of mathematics on these topics: {topics}
It must need these key points: {key_points}

The answer must be one number or one closed expression that a program can compare, so no proof, no \
drawing, no "explain", and no choice of approximations. It should take four or more steps. Make it \
differ from these examples in its situation and in what is asked. Do not give the answer.

Examples:
{exemplars}

Shape: {{"problem": "..."}}""",
    "zh": """请就以下主题编写一道新的数学题：{topics}
题目必须用到这些知识点：{key_points}

答案必须是一个数或一个式子，能由程序比较；因此不要证明题、作图题、说明题，也不要近似值。解答应有四步或更多。\
情境和所求要与下面的例子不同。不要给出答案。

例子：
{exemplars}

格式：{{"problem": "..."}}""",
}
_FORM = {"en": ": a number or an expression, without a unit", "zh": "：一个数或式子，不写单位"}
_MATH = re.compile(r"[0-9]|\\[a-z]+|[a-z]\b|π|√|∞")


def ballot(answer: str) -> str:
    """Count an answer only if it can be compared: short, with a number or a symbol."""
    text = normal(answer)
    return text if len(text) <= 60 and _MATH.search(text) else ""


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Write and solve one problem.

    Raises:
        RowFailure: weak_problem, no_majority, no_number, or an answer has no valid shape.
    """
    lang = source.lang
    ask = prompt(
        f"{NAME}/write", lang, VERSION, problems.SYSTEM, _USER, problems.Problem,
        **problems.wishes(source),
    )  # fmt: skip
    text = need((await asker.ask(ask, problems.Problem)).problem, "no_problem")
    if not re.search(r"[0-9A-Za-z]", text):
        raise RowFailure("no_number", "a problem of mathematics without a number or a symbol")
    score = await problems.check_quality(text, source, asker, NAME)
    won = await problems.vote(text, lang, asker, config, NAME, _FORM[lang], ballot)
    extra = {**problems.lineage(source), "score": score, "votes": won.votes, "share": won.share}
    return [Row(text, won.solution, won.steps, extra, kind="rl", final=won.final)]
