"""Key points: new problems from sampled topics and key points, with solutions that vote.

Key-Point-Driven Data Synthesis (2403.02333): a sample names topics that occur together, key points
and two seed problems; the teacher writes a new problem, reviews it, and solves it several times.
The row keeps {query, steps, answer, final} and the votes.
"""

from __future__ import annotations

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes import problems
from openseek.synthesis.recipes.knowledge_tags import FIELDS
from openseek.synthesis.recipes.wording import need, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker

NAME = "key_points"
VERSION = 1
GIVES = "knowledge"

_USER = {
    "en": """Write one new problem of {field} that belongs to these topics: {topics}
It must need these key points: {key_points}

It must be complete in itself, have exactly one right answer that can be written in a few words or \
one number, and differ from these examples in its situation, its numbers and what is asked. Do not \
give the answer.

Examples:
{exemplars}

Shape: {{"problem": "..."}}""",
    "zh": """请编写一道新的{field}题目，属于以下主题：{topics}
题目必须用到这些知识点：{key_points}

题目要自成一体，有且只有一个正确答案，并且能用几个字或一个数写出；情境、数字和所求都要与下面的例子不同。\
不要给出答案。

例子：
{exemplars}

格式：{{"problem": "..."}}""",
}


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Write, review and solve one problem.

    Raises:
        RowFailure: weak_problem, no_majority, or an answer has no valid shape.
    """
    lang = source.lang
    ask = prompt(
        f"{NAME}/write", lang, VERSION, problems.SYSTEM, _USER, problems.Problem,
        field=FIELDS[lang][source.given["field"]], **problems.wishes(source),
    )  # fmt: skip
    text = need((await asker.ask(ask, problems.Problem)).problem, "no_problem")
    score = await problems.check_quality(text, source, asker, NAME)
    won = await problems.vote(text, lang, asker, config, NAME)
    extra = {**problems.lineage(source), "score": score, "votes": won.votes, "share": won.share}
    return [Row(text, won.solution, won.steps, extra, kind="problem", final=won.final)]
