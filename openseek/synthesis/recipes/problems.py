"""What the recipes that write problems share: the sample in words, a score, and the vote."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.wording import normal, prompt, short, split_answer, steps_of
from openseek.synthesis.rows import SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

VERSION = 1

SYSTEM = {
    "en": "You write problems for a collection that people practise with. You answer with one JSON "
    "object and nothing else.",
    "zh": "你为练习题库编写题目。你只输出一个 JSON 对象，不输出其他内容。",
}
_SOLVER = {
    "en": "You solve problems step by step and check your result.",
    "zh": "你逐步解题，并检查结果。",
}
_SOLVE = {
    "en": """{problem}

Solve this. Write numbered steps, one a line, then one last line of the form

Answer: the result alone, as short as it can be{form}""",
    "zh": """{problem}

请解答。写出编号的步骤，每步一行，最后另起一行，格式为

答案：只写结果，尽量简短{form}""",
}
_JUDGE = {
    "en": "You review problems before they are published. You answer with one JSON object and "
    "nothing else.",
    "zh": "你在题目发布前进行审核。你只输出一个 JSON 对象，不输出其他内容。",
}
_SCORE = {
    "en": """Review this problem:
<<<
{problem}
>>>

Give whole numbers from 1 to 5 for: clear (all that is needed is stated, nothing contradicts), \
solvable (there is exactly one right answer, and it is short), useful (it needs these key points: \
{key_points}).

Shape: {{"clear": 1, "solvable": 1, "useful": 1}}""",
    "zh": """请审核这道题：
<<<
{problem}
>>>

请给出 1 到 5 的整数：clear（条件完整，没有矛盾）、solvable（有且只有一个正确且简短的答案）、\
useful（需要用到这些知识点：{key_points}）。

格式：{{"clear": 1, "solvable": 1, "useful": 1}}""",
}

_Points = Annotated[int, Field(ge=1, le=5)]


class Problem(BaseModel):
    """A problem alone."""

    problem: Annotated[str, Field(min_length=1)]


class Score(BaseModel):
    """A problem's review."""

    clear: _Points
    solvable: _Points
    useful: _Points


@dataclass(frozen=True)
class Vote:
    """What several solutions say.

    Attributes:
        final: The winning short answer, as its first solution wrote it.
        steps: That solution's steps.
        solution: That solution's answer, whole.
        votes: Normal form of each answer -> solutions that gave it; `` for none.
        share: Share of all solutions that gave the winning answer.
    """

    final: str
    steps: tuple[str, ...]
    solution: str
    votes: dict[str, int]
    share: float


def wishes(source: SourceDocument) -> dict[str, object]:
    """Word a sample of topics and key points for a prompt."""
    given = source.given
    shown = "\n\n".join(f"<<<\n{text}\n>>>" for text in given["exemplars"])
    return {
        "topics": "; ".join(given["topics"]),
        "key_points": "; ".join(given["key_points"]),
        "exemplars": shown or "-",
    }


def lineage(source: SourceDocument) -> dict[str, object]:
    """Name what a problem was drawn from, for its row."""
    return {k: source.given[k] for k in ("field", "topics", "key_points", "seeds")}


async def check_quality(problem: str, source: SourceDocument, asker: Asker, recipe: str) -> float:
    """Have a problem reviewed.

    Returns:
        Mean of the three scores, from 1 to 5.

    Raises:
        RowFailure: `weak_problem`: one of the scores is below 3; or no valid answer.
    """
    points = "; ".join(source.given["key_points"])
    ask = prompt(
        f"{recipe}/score", source.lang, VERSION, _JUDGE, _SCORE, Score,
        problem=problem, key_points=points,
    )  # fmt: skip
    score = await asker.ask(ask, Score)
    marks = (score.clear, score.solvable, score.useful)
    if min(marks) < 3:
        raise RowFailure("weak_problem", "the problem's review is below 3 of 5")
    return round(sum(marks) / 3, 2)


async def vote(
    problem: str, lang: str, asker: Asker, config: RecipeConfig, recipe: str,
    form: str = "", read: Callable[[str], str] = normal,
) -> Vote:  # fmt: skip
    """Have a problem solved several times and count the answers.

    Args:
        problem: What is asked.
        lang: `en` or `zh`.
        asker: Who is asked.
        config: Number of solutions and the share that must agree.
        recipe: Its name.
        form: More on the form of the answer.
        read: Brings an answer into the form in which votes are counted; empty: no vote.

    Raises:
        RowFailure: `no_majority`.
    """
    asked = (
        asker.say(
            prompt(
                f"{recipe}/solve",
                lang,
                VERSION,
                _SOLVER,
                _SOLVE,
                None,
                i,
                problem=problem,
                form=form,
            )
        )
        for i in range(config.solutions)
    )
    told = [split_answer(text) for text in await asyncio.gather(*asked)]
    ballots = [read(answer) for _, answer in told]
    return count_votes(told, ballots, config.min_votes)


def count_votes(told: list[tuple[str, str]], ballots: list[str], min_votes: float) -> Vote:
    """Find the winner; at a tie the answer that was given first.

    Raises:
        RowFailure: No answer has the share of all solutions that it needs.
    """
    votes = Counter(ballots)
    named = [b for b in ballots if b]
    best = max(named, key=lambda b: votes[b], default="")
    share = votes[best] / len(ballots) if best else 0.0
    if share < min_votes:
        raise RowFailure("no_majority", "the solutions do not agree on an answer")
    reasoning, answer = told[ballots.index(best)]
    return Vote(short(answer), steps_of(reasoning), answer, dict(votes), round(share, 4))
