"""Knowledge tags: the topics of a seed problem and the key points that solve it.

The first step of Key-Point-Driven Data Synthesis (2403.02333). The rows are no documents: merged
and counted they become knowledge.json, which key_points and the RL recipes draw from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.recipes import RecipeConfig
from openseek.synthesis.recipes.wording import Texts, need, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker

NAME = "knowledge_tags"
VERSION = 1
GIVES = "seeds"

MAX_TOPICS, MAX_POINTS = 3, 6

_SYSTEM = {
    "en": "You are a teacher who sorts problems by what they are about. You answer with one JSON "
    "object and nothing else.",
    "zh": "你是一位按内容整理题目的教师。你只输出一个 JSON 对象，不输出其他内容。",
}
_USER = {
    "en": """Here is a problem from the field {field}:
<<<
{problem}
>>>

Name one to three topics that it belongs to (as the chapters of a course are called, two or three \
words each), and one to six key points: the theorems, methods or facts that one must know to solve \
it, each in a few words and without the numbers and names of this problem.

Shape: {{"topics": ["..."], "key_points": ["..."]}}""",
    "zh": """下面是一道属于“{field}”领域的题目：
<<<
{problem}
>>>

请写出它所属的一到三个主题（像课程章节的名称，每个几个字），以及一到六个知识点：解题必须掌握的定理、\
方法或事实，每个用几个字概括，不要带本题的数字和名称。

格式：{{"topics": ["..."], "key_points": ["..."]}}""",
}
FIELDS = {
    "en": {"math": "mathematics", "code": "programming", "commonsense": "commonsense reasoning"},
    "zh": {"math": "数学", "code": "编程", "commonsense": "常识推理"},
}


class Tags(BaseModel):
    """The answer's shape."""

    topics: Annotated[Texts, Field(min_length=1)]
    key_points: Annotated[Texts, Field(min_length=1)]


def first_names(names: list[str], most: int) -> list[str]:
    """Keep the first different names that are not blank."""
    return list(dict.fromkeys(n.strip() for n in names if n.strip()))[:most]


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Tag one seed problem.

    Raises:
        RowFailure: The answer has no valid shape.
    """
    field, lang = str(source.given["field"]), source.lang
    ask = prompt(
        f"{NAME}/tag", lang, VERSION, _SYSTEM, _USER, Tags,
        field=FIELDS[lang][field], problem=source.given["problem"],
    )  # fmt: skip
    tags = await asker.ask(replace(ask, items=(1, MAX_POINTS)), Tags)
    topics = first_names(tags.topics, MAX_TOPICS)
    need("".join(topics), "no_topics")
    points = first_names(tags.key_points, MAX_POINTS)
    extra: dict[str, object] = {"field": field, "topics": topics, "key_points": points}
    return [Row(str(source.given["problem"]), extra=extra, kind="tags")]
