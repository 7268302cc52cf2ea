from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from openseek.config.recipes import RecipeConfig
from openseek.synthesis import RECIPES, Row, RowFailure, SourceDocument
from openseek.synthesis.teacher import Asker, Message, Prompt, Reply

Said = str | dict[str, Any] | list[Any] | Callable[[Prompt], Any]

QUERY = {
    "en": "Why do the deep basins of the Baltic Sea run out of oxygen?",
    "zh": "为什么围湖造田会加重长江中下游的洪水？",
}
STEPS = {
    "en": ("Salt water is heavy.", "Inflows are rare.", "Nothing brings oxygen down."),
    "zh": ("湖泊吸收洪水。", "围湖造田使湖泊面积缩小。", "调节能力下降。"),
}
ANSWER = {
    "en": "The deep water is replaced only by rare inflows of salt water from the North Sea.",
    "zh": "围湖造田缩小了湖泊面积，湖泊调节洪水的能力随之下降。",
}


class Script:
    """A teacher that says what it is told to for each kind of prompt.

    A list is used up, its last entry stays; a dict is sent as JSON; a function gets the prompt.
    """

    name = "script"

    def __init__(self, said: Mapping[str, Said], jitter: int = 0) -> None:
        self.said = dict(said)
        self.asked: list[Prompt] = []
        self.jitter = jitter

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        self.asked.append(prompt)
        turns = hash((str(messages), prompt.sample)) % (self.jitter + 1)
        for _ in range(turns):
            await asyncio.sleep(0)
        value = self.said[prompt.kind]
        if callable(value):
            value = value(prompt)
        if isinstance(value, list):
            value = value.pop(0) if len(value) > 1 else value[0]
        if isinstance(value, Exception):
            raise value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return Reply(text, 10, 5)

    def kinds(self) -> list[str]:
        return [prompt.kind for prompt in self.asked]

    def stop(self) -> None:
        return

    async def close(self) -> None:
        return


def run(recipe: str, source: SourceDocument, teacher: Script, **options: Any) -> list[Row]:
    config = RecipeConfig(name=recipe, **options)
    return asyncio.run(RECIPES[recipe].run(source, Asker(teacher), config))


def reason(recipe: str, source: SourceDocument, teacher: Script, **options: Any) -> str:
    try:
        run(recipe, source, teacher, **options)
    except RowFailure as failure:
        return failure.reason
    return ""


def after_backward(lang: str = "en", text: str = "", id: str = "d1") -> SourceDocument:
    row = Row(QUERY[lang], ANSWER[lang], STEPS[lang], kind="cot")
    return SourceDocument(id, text, lang, False, "lakes", "CC-BY-4.0", row=row)


def drawn(field: str = "math", lang: str = "en") -> SourceDocument:
    given = {
        "field": field, "topics": ["rates"], "key_points": ["rates add up"],
        "exemplars": ["Two pipes fill a tank. How long do they take?"], "seeds": ["s1"],
    }  # fmt: skip
    return SourceDocument("sample-1", "", lang, False, "seeds", "Apache-2.0", given=given)
