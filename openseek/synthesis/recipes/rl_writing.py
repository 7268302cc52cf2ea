"""RL writing: a writing task that a document suggests, with criteria to judge it by.

The row keeps {query, answer, criteria}: the answer is the teacher's own text, and the criteria are
for a judge, as no rule can tell good writing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.wording import Text, Texts, need, plain, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker

NAME = "rl_writing"
VERSION = 1
GIVES = "documents"

_SYSTEM = {
    "en": "You set writing tasks for a course. You answer with one JSON object and nothing else.",
    "zh": "你为写作课出题。你只输出一个 JSON 对象，不输出其他内容。",
}
_USER = {
    "en": """Let the document below suggest a writing task: a letter, a report, an essay, a story, \
instructions, a speech, a review or another form that fits its subject. The task must make sense \
without the document, say who writes for whom and why, and set a length. Then give three to six \
criteria by which the result can be judged, each one sentence that is either fulfilled or not.

Shape: {{"task": "...", "criteria": ["..."]}}

Document:
<<<
{document}
>>>""",
    "zh": """请根据下面的文档设计一个写作任务：书信、报告、议论文、故事、说明、演讲、评论\
或其他适合其主题的体裁。任务要脱离文档也能理解，说明谁写给谁、为什么写，并规定篇幅。\
然后给出三到六条评判标准，每条一句，能够判断是否达到。

格式：{{"task": "...", "criteria": ["..."]}}

文档：
<<<
{document}
>>>""",
}
_WRITER = {"en": "You write well and to the point.", "zh": "你文笔好，内容切题。"}
_WRITE = {"en": "{task}\n\nWrite the text alone.", "zh": "{task}\n\n只写正文。"}


class Task(BaseModel):
    """The answer's shape."""

    task: Text
    criteria: Annotated[Texts, Field(min_length=1)]


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Set one task and write to it.

    Raises:
        RowFailure: no_task, no_text, or the answer has no valid shape.
    """
    ask = prompt(f"{NAME}/set", source.lang, VERSION, _SYSTEM, _USER, Task, document=source.text)
    task = await asker.ask(replace(ask, items=(3, 6)), Task)
    query = need(task.task, "no_task")
    criteria = list(dict.fromkeys(c.strip() for c in task.criteria if c.strip()))[:6]
    write = prompt(f"{NAME}/write", source.lang, VERSION, _WRITER, _WRITE, task=query)
    text = need(plain(await asker.say(write)), "no_text")
    return [Row(query, text, (), {"criteria": criteria}, kind="rl")]
