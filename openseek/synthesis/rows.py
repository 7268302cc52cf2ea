"""What goes into a recipe and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["qa", "cot", "text", "problem", "rl", "tags"]


@dataclass(frozen=True)
class SourceDocument:
    """What a recipe is given: a document, a row of another recipe, or a sample of key points.

    Attributes:
        id: Document id.
        text: Its text, cut to what the teacher may see.
        lang: Language of prompts and rows, `en` or `zh`.
        code: Whether it is program text.
        source: Name of its source.
        license: Licence that its rows inherit.
        domain: Its domain, which its rows inherit; empty: not labelled.
        tier: Its quality tier; empty: not scored.
        row: The earlier recipe's row, for a recipe that goes on from rows; `text` is then the
            document which that row was made from.
        given: What else the recipe is given, as JSON: topics, key points, exemplars.
    """

    id: str
    text: str
    lang: str
    code: bool
    source: str
    license: str
    domain: str = ""
    tier: str = ""
    row: Row | None = None
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One synthetic row.

    Attributes:
        query: The question, problem or task; empty for a rewritten document.
        answer: The answer, or the reference answer of an `rl` task.
        steps: The reasoning that leads to the answer.
        extra: What else is kept with it, as JSON (goes into `meta`).
        kind: `qa`, `cot` (an answer with reasoning), `text` (a rewritten document, in `text`),
            `problem` (its short answer in `final`), `rl` (a task for reinforcement learning, never
            a training document) or `tags` (what a seed or document is about, never published).
        text: The rewritten document.
        final: The short answer that a rule can compare.
        tests: A Python program that, run after the answer's code, ends with 0 exactly if it is
            right.
    """

    query: str = ""
    answer: str = ""
    steps: tuple[str, ...] = ()
    extra: dict[str, object] = field(default_factory=dict)
    kind: Kind = "qa"
    text: str = ""
    final: str = ""
    tests: str = ""

    @property
    def reasoning(self) -> str:
        """The steps as a numbered list."""
        return "\n".join(f"{i}. {step}" for i, step in enumerate(self.steps, start=1))


_WORDS = {
    "en": ("Question: {}", "Reasoning:\n{}", "Answer: {}"),
    "zh": ("问题：{}", "思考过程：\n{}", "答案：{}"),
}


def render(row: Row, lang: str) -> str:
    """Lay a row out as the document that a model is trained on."""
    if row.kind == "text":
        return row.text
    question, reasoning, answer = _WORDS[lang]
    parts = [question.format(row.query)]
    if row.steps:
        parts.append(reasoning.format(row.reasoning))
    parts.append(answer.format(row.answer))
    return "\n\n".join(parts)


def row_of(raw: Mapping[str, Any]) -> Row:
    """Read a row back from JSON."""
    return Row(**{**raw, "steps": tuple(raw["steps"])})


def source_of(raw: Mapping[str, Any]) -> SourceDocument:
    """Read what a recipe was given back from JSON."""
    row = raw.get("row")
    return SourceDocument(**{**raw, "row": row_of(row) if row else None})
