"""What every teacher is, and how a recipe asks it.

A recipe asks with a `Prompt`: messages for a language model, and the same inputs as data for a
teacher that works by rule. `Asker.ask` wants one JSON object of the prompt's schema: a wrong answer
gets one repair turn, then the document fails with a reason. `Asker.say` takes any text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

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
        schema: Shape of the answer; None: free text.
        version: Version of the wording; another one is another request to the cache.
        sample: Number of the answer, where the same is asked several times for different answers.
        stop: Texts before which a free answer ends.
        items: Least and most items of the answer's lists where a server holds it to the schema, so
            that a small model does not run on; (0, 0): any. An answer may have others all the same.
    """

    kind: str
    lang: str
    inputs: dict[str, Any]
    messages: tuple[Message, ...]
    schema: type[BaseModel] | None
    version: int = 1
    sample: int = 0
    stop: tuple[str, ...] = ()
    items: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Reply:
    """A teacher's answer and what it cost.

    Attributes:
        text: The answer.
        prompt_tokens: Tokens of the prompt, with the cached ones.
        completion_tokens: Tokens of the answer.
        cached_tokens: Those of the prompt that the provider had cached and charges less for.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass
class Ledger:
    """Requests, tokens and repair turns of some work, whether they were paid now or earlier."""

    requests: int = 0
    repairs: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count one answer."""
        self.requests += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.cached_tokens += reply.cached_tokens

    def to_json(self) -> dict[str, int]:
        """Dump for a record; the provider's cache only where it was used."""
        dump = dict(vars(self))
        if not self.cached_tokens:
            del dump["cached_tokens"]
        return dump


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

    def stop(self) -> None:
        """Send no further request; those in flight are still answered."""
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
        reply = await self._complete(prompt, prompt.messages)
        try:
            return parse(reply.text, schema)
        except ValueError as error:
            messages = (*prompt.messages, *_repair(reply.text, str(error), prompt.lang))
        self.ledger.repairs += 1
        reply = await self._complete(prompt, messages)
        try:
            return parse(reply.text, schema)
        except ValueError:
            what = f"{prompt.kind}: no valid JSON after a repair"
            raise RowFailure("schema", what) from None

    async def say(self, prompt: Prompt, *, stop: tuple[str, ...] = ()) -> str:
        """Return a free answer, up to the first of the stop texts (which it does not hold).

        Raises:
            RowFailure: The model or the server refuses.
        """
        free = replace(prompt, schema=None, stop=stop or prompt.stop)
        text = (await self._complete(free, prompt.messages)).text
        return cut(text, free.stop)

    async def _complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        reply = await self.teacher.complete(prompt, messages)
        self.ledger.add(reply)
        return reply


def cut(text: str, stop: tuple[str, ...]) -> str:
    """Cut a text before the first stop text; servers that know no `stop` run on."""
    found = [at for word in stop if (at := text.find(word)) >= 0]
    return text[: min(found)] if found else text


def parse(text: str, schema: type[M]) -> M:
    """Read the JSON object in an answer, whatever stands around it (fences, a greeting).

    Raises:
        ValueError: There is none, or it does not fit the schema; the message says what is wrong,
            without a word of the answer.
    """
    start = text.find("{")
    if start < 0:
        raise ValueError("no JSON object")
    try:
        value, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deep") from None
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        # Not chained: pydantic's message shows the answer, which must not reach a log.
        raise ValueError(f"wrong shape: {where}: {first['msg']}") from None


def _repair(answer: str, error: str, lang: str) -> tuple[Message, Message]:
    ask = (
        f"你的回答无法使用（{error}）。请只输出一个符合要求的 JSON 对象，不要任何其他文字。"
        if lang == "zh"
        else f"That answer cannot be used ({error}). Reply again with one JSON object of the "
        "requested shape and nothing else."
    )
    return {"role": "assistant", "content": answer}, {"role": "user", "content": ask}
