"""Long-CoT-Forward: a reasoning model answers again, with the document's chain as a draft.

It is given rows of long_cot_backward. The model sees the question and the chain that was read off
the document, works out its own reasoning and answers. Mentions of the draft are taken out, and the
row stays only if its answer agrees with the one that the document gave. The row keeps
{query, steps, answer}.
"""

from __future__ import annotations

import re

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.agreement import agrees
from openseek.synthesis.recipes.wording import need, plain, prompt, split_answer, steps_of
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "long_cot_forward"
VERSION = 1
GIVES = "rows:long_cot_backward"

_SYSTEM = {
    "en": "You are a careful reasoner who solves questions from first principles and checks each "
    "step.",
    "zh": "你是一位严谨的推理者，从基本原理出发解决问题，并检查每一步。",
}
_USER = {
    "en": """Question: {query}

Notes that may help, incomplete and perhaps wrong in places:
{draft}

Work the question out from the beginning. Give the reasoning as numbered steps, one a line: say \
why each step holds, try another way where you are in doubt, and correct yourself where you find \
a mistake. Write as if you had no notes: never speak of notes, a draft or a given chain. After the \
steps write one last line of the form

Answer: the answer in one to four sentences""",
    "zh": """问题：{query}

可能有用的笔记，不完整，也可能有错：
{draft}

请从头推导这个问题。把推理写成编号的步骤，每步一行：说明每一步为什么成立，没有把握时换一种方法，\
发现错误就改正。要像没有笔记一样书写：不要提到笔记、草稿或给出的推理链。步骤之后另起最后一行，格式为

答案：用一到四句话作答""",
}
_CLOSE = {
    "en": """Question: {query}

Your reasoning:
<<<
{reasoning}
>>>

Give the answer that this reasoning leads to, in one to four sentences, and nothing else.""",
    "zh": """问题：{query}

你的推理：
<<<
{reasoning}
>>>

请用一到四句话给出由此得到的答案，不要写其他内容。""",
}
_DRAFT = re.compile(
    r"\b(?:the|these|those|my|your|given|provided|above|supplied|original|initial)\s+"
    r"(?:\w+\s+)?(?:notes?|drafts?|hints?|(?:chain|reasoning)\s+(?:above|provided|given))\b|"
    r"\b(?:according to|as (?:noted|stated|given) in|from|in)\s+the\s+(?:notes?|draft|chain)\b|"
    r"(?:笔记|草稿|(?:给出|给定|提供|上述|上面)的?(?:推理链|思路|提示))",
    re.I,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


def without_draft(text: str) -> str:
    """Take out the sentences that speak of the draft."""
    return " ".join(s.strip() for s in _SENTENCE.split(text) if s and not _DRAFT.search(s)).strip()


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Rewrite one row's reasoning and compare the answers.

    Reasoning that ends without an answer gets one more request, for the answer alone.

    Raises:
        RowFailure: no_answer, no_reasoning, or `disagrees`: the answer is not the document's.
    """
    earlier = source.row
    if earlier is None:
        raise RowFailure("no_row", "long_cot_forward goes on from rows of long_cot_backward")
    draft = "\n".join([earlier.reasoning, earlier.answer])
    ask = prompt(
        f"{NAME}/rewrite", source.lang, VERSION, _SYSTEM, _USER, query=earlier.query, draft=draft
    )
    reasoning, answer = split_answer(await asker.say(ask))
    steps = tuple(s for s in map(without_draft, steps_of(reasoning)) if s)
    need("".join(steps), "no_reasoning")
    if not answer:
        close = prompt(
            f"{NAME}/close", source.lang, VERSION, _SYSTEM, _CLOSE,
            query=earlier.query, reasoning="\n".join(steps),
        )  # fmt: skip
        told = await asker.say(close)
        answer = split_answer(told)[1] or plain(told)
    answer = need(without_draft(answer), "no_answer")
    query, lang = earlier.query, source.lang
    if not await agrees(query, answer, earlier.answer, lang, asker, config, NAME):
        raise RowFailure("disagrees", "the answer is not the document's")
    extra: dict[str, object] = {"reference": earlier.answer}
    return [Row(query, answer, steps, extra, kind="cot")]
