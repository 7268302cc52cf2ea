"""What every teacher is, and how a recipe asks it.

A recipe asks with a `Prompt`: messages for a language model, and the same inputs as data for a
teacher that works by rule. Either answers with text that must hold one JSON object of the prompt's
schema; a wrong one gets one repair turn, then the document fails with a reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from openseek.config.synthesis import TeacherConfig
from openseek.errors import PermanentError

M = TypeVar("M", bound=BaseModel)
Message = dict[str, str]


class RowFailure(PermanentError):
    """One document cannot be answered; the others go on.

    Attributes:
        reason: Short word that is counted: schema, refused, bad_request, markers.
    """

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(what or reason)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (RowFailure, (self.reason, self.what))


@dataclass(frozen=True)
class Prompt:
    """One question to a teacher.

    Attributes:
        kind: What is asked, `recipe/step`, such as `long_cot_backward/segment`.
        lang: Language of prompt and answer, `en` or `zh`.
        inputs: What the answer depends on.
        messages: The same, worded for a language model.
        schema: Shape of the answer.
    """

    kind: str
    lang: str
    inputs: dict[str, Any]
    messages: tuple[Message, ...]
    schema: type[BaseModel]


@dataclass(frozen=True)
class Reply:
    """A teacher's answer and what it cost."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Ledger:
    """Requests, tokens and repair turns of some work."""

    requests: int = 0
    repairs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count one answer."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens


class Teacher(Protocol):
    """Answers prompts."""

    name: str
    """Goes into `meta.teacher` of every row."""

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Answer the messages of a prompt (more of them in a repair turn).

        Raises:
            RowFailure: This prompt will never be answered.
            TransientError: Nobody answered in all tries.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


@dataclass
class Asker:
    """Ask a teacher on behalf of one document, and keep the ledger."""

    teacher: Teacher
    ledger: Ledger = field(default_factory=Ledger)

    async def ask(self, prompt: Prompt, schema: type[M]) -> M:
        """Return a valid answer, after at most one repair turn.

        Raises:
            RowFailure: The second answer is no valid JSON of the schema either.
        """
        messages = prompt.messages
        reply = await self.teacher.complete(prompt, messages)
        self.ledger.add(reply)
        try:
            return parse(reply.text, schema)
        except ValueError as error:
            messages = (*messages, *_repair(reply.text, error, prompt.lang))
        self.ledger.repairs += 1
        reply = await self.teacher.complete(prompt, messages)
        self.ledger.add(reply)
        try:
            return parse(reply.text, schema)
        except ValueError as error:
            raise RowFailure("schema", f"{prompt.kind}: no valid JSON after a repair") from error


def parse(text: str, schema: type[M]) -> M:
    """Read the JSON object in an answer, whatever stands around it (fences, a greeting).

    Raises:
        ValueError: There is none, or it does not fit the schema; the message says what is wrong.
    """
    start = text.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from error
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ValueError(f"wrong shape: {where}: {first['msg']}") from error


def _repair(answer: str, error: ValueError, lang: str) -> tuple[Message, Message]:
    ask = (
        f"你的回答无法使用（{error}）。请只输出一个符合要求的 JSON 对象，不要任何其他文字。"
        if lang == "zh"
        else f"That answer cannot be used ({error}). Reply again with one JSON object of the "
        "requested shape and nothing else."
    )
    return {"role": "assistant", "content": answer}, {"role": "user", "content": ask}


def build_teacher(config: TeacherConfig) -> Teacher:
    """Make the teacher that a configuration describes."""
    if config.kind == "openai":
        from openseek.synthesis.openai_teacher import OpenAITeacher

        return OpenAITeacher(config)
    from openseek.synthesis.extractive import ExtractiveTeacher

    return ExtractiveTeacher()
