"""Simple QA: diverse questions that a document answers, as many as its length allows."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.synthesis import RecipeConfig
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, Prompt

NAME = "simple_qa"
VERSION = 1
GIVES = "documents"

_SYSTEM = {
    "en": "You write study questions for readers who do not have the source in front of them. "
    "You answer with one JSON object and nothing else.",
    "zh": "你为手边没有原文的读者编写学习问题。你只输出一个 JSON 对象，不输出其他内容。",
}
_USER = {
    "en": """Below is a document. Write up to {count} question-answer pairs about its content.

Rules:
- Ask about facts, causes, procedures and definitions; make the pairs differ in kind and topic.
- Each question must make sense alone: name the subject in full, and never point at "the text", \
"the author", "above" or "this section".
- Each answer must follow from the document, in your own words, in one to four sentences. Keep \
names, numbers, formulas and code exactly as they are.
- Write fewer pairs rather than weak ones.

Shape: {{"pairs": [{{"question": "...", "answer": "..."}}]}}

Document:
<<<
{document}
>>>""",
    "zh": """下面是一篇文档。请就其内容写出最多 {count} 组问答。

要求：
- 围绕事实、原因、步骤和定义提问，各组问答的类型和主题要有变化。
- 每个问题都要能独立理解：写出完整的对象名称，不得出现“本文”“作者”“上文”“这一节”之类的指代。
- 每个答案都要有文档依据，用自己的话写一到四句；名称、数字、公式和代码保持原样。
- 宁少勿滥。

格式：{{"pairs": [{{"question": "...", "answer": "..."}}]}}

文档：
<<<
{document}
>>>""",
}

_Text = Annotated[str, Field(min_length=1)]


class Pair(BaseModel):
    """One question with its answer."""

    question: _Text
    answer: _Text


class Pairs(BaseModel):
    """The answer's shape."""

    pairs: list[Pair]


def prompt(document: SourceDocument, count: int) -> Prompt:
    """Word the request for one document."""
    user = _USER[document.lang].format(count=count, document=document.text)
    messages = (
        {"role": "system", "content": _SYSTEM[document.lang]},
        {"role": "user", "content": user},
    )
    inputs = {"document": document.text, "count": count, "code": document.code}
    return Prompt(f"{NAME}/pairs", document.lang, inputs, messages, Pairs, items=(1, count))


async def run(document: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Ask for pairs in proportion to the document's length."""
    count = max(1, min(config.max_items, len(document.text) // config.chars_per_item))
    answer = await asker.ask(prompt(document, count), Pairs)
    return [Row(p.question.strip(), p.answer.strip()) for p in answer.pairs[:count]]
