"""What the recipes' prompts and answers have in common.

Free answers are read with tolerance: small models greet, fence, repeat the labels they were shown
or leave some out. What cannot be read is a `RowFailure` with its reason, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from openseek.synthesis.teacher import Message, Prompt, RowFailure

Text = Annotated[str, Field(min_length=1)]
"""Text of at least one character."""


def _without_blanks(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [item for item in value if not isinstance(item, str) or item.strip()]


Texts = Annotated[list[Text], BeforeValidator(_without_blanks)]
"""Texts of which small models leave some blank; those are left out."""

_THINK = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.S)
_FENCE = re.compile(r"^```[\w-]*\n(.*?)\n?```\s*$", re.S)
_GREETING = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|okay|ok)\b[^\n]*|here(?:'s| is| are)\b[^\n]*:|"
    r"(?:好的|当然|以下是|下面是)[^\n]*[：:。！])\s*\n+",
    re.I,
)
_ANSWER = re.compile(
    r"^[\s#>*_-]*(?:final answer|answer|conclusion|最终答案|答案|结论)(?:\s+is|是|为)?"
    r"[\s*_]*[:：][\s*_]*",
    re.I | re.M,
)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_NUMBERED = re.compile(
    r"^\s*(?:[-*•]|\(?\d{1,2}[.)、：:]|step\s+\d{1,2}[.:]|第.{1,2}步[：:，])\s*", re.I
)


def prompt(
    kind: str, lang: str, version: int, system: Mapping[str, str], user: Mapping[str, str],
    schema: type[BaseModel] | None = None, sample: int = 0, /, **inputs: object,
) -> Prompt:  # fmt: skip
    """Word one request.

    Args:
        kind: `recipe/step`.
        lang: `en` or `zh`.
        version: The recipe's version.
        system: Role of the model, by language.
        user: Request by language, with `{places}` for the inputs.
        schema: Shape of the answer; None: free text.
        sample: Number of the answer, where several are wanted.
        inputs: What fills the places.
    """
    messages: tuple[Message, ...] = (
        {"role": "system", "content": system[lang]},
        {"role": "user", "content": user[lang].format(**inputs)},
    )
    return Prompt(kind, lang, dict(inputs), messages, schema, version, sample)


def plain(text: str) -> str:
    """Take away private reasoning, a greeting and a fence around a free answer."""
    text = _THINK.sub("", text).strip()
    text = _GREETING.sub("", text, count=1).strip()
    fenced = _FENCE.match(text)
    return (fenced[1] if fenced else text).strip()


def split_answer(text: str) -> tuple[str, str]:
    r"""Part a free solution into its reasoning and the answer that it ends with.

    The answer is what follows the last line marked as such, else the last `\boxed{…}`; reasoning
    in `<think>` marks counts as reasoning.

    Returns:
        Both; an empty answer where none is marked.
    """
    thought = "\n".join(m.strip() for m in _THINK.findall(text))
    told = plain(text)
    marks = list(_ANSWER.finditer(told))
    for mark in reversed(marks):
        answer = told[mark.end() :].strip()
        if answer:
            return "\n".join(p for p in (thought, told[: mark.start()].strip()) if p), answer
    if boxed := _BOXED.findall(told):
        return "\n".join(p for p in (thought, told) if p), boxed[-1].strip()
    return "\n".join(p for p in (thought, told) if p), ""


def steps_of(reasoning: str) -> tuple[str, ...]:
    """Cut reasoning into steps: its numbered items if it has three, else its lines."""
    lines = [line.strip() for line in reasoning.split("\n") if line.strip()]
    items: list[list[str]] = []
    for line in lines:
        if _NUMBERED.match(line) or not items:
            items.append([])
        items[-1].append(_NUMBERED.sub("", line))
    steps = (
        [" ".join(item) for item in items]
        if len(items) >= 3
        else [_NUMBERED.sub("", s) for s in lines]
    )
    return tuple(step for step in (s.strip(" *_#") for s in steps) if step)


def short(answer: str) -> str:
    """Reduce an answer to what a rule compares: its first line, without marks around it."""
    if boxed := _BOXED.findall(answer):
        answer = boxed[-1]
    lines = [line for line in answer.strip().split("\n") if line.strip()]
    line = lines[0] if lines else ""
    return line.strip().strip("*_`$ ").rstrip(".。").strip("*_`$ ")


def normal(answer: str) -> str:
    """Bring a short answer into the form in which votes are counted."""
    text = short(answer).lower().replace("\u2212", "-")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"\\(?:text|mathrm|left|right|,|!|;)\s*|[\s{}()\"'“”‘’]", "", text)
    if re.fullmatch(r"[-+]?\d*\.\d+", text):
        text = text.rstrip("0").rstrip(".")
    return text.lstrip("+")


def need(text: str, reason: str) -> str:
    """Return a text that must not be empty.

    Raises:
        RowFailure: It is empty.
    """
    if not text.strip():
        raise RowFailure(reason)
    return text.strip()
