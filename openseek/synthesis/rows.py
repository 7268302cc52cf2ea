"""What goes into a recipe and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceDocument:
    """The part of a document that synthesis needs.

    Attributes:
        id: Document id.
        text: Its text, cut to what the teacher may see.
        lang: Language of prompts and rows, `en` or `zh`.
        code: Whether it is program text.
        source: Name of its source.
        license: Licence that its rows inherit.
        domain: Its domain, which its rows inherit; empty: not labelled.
        tier: Its quality tier; empty: not scored.
    """

    id: str
    text: str
    lang: str
    code: bool
    source: str
    license: str
    domain: str = ""
    tier: str = ""


@dataclass(frozen=True)
class Row:
    """One synthetic question with its reasoning and answer."""

    query: str
    answer: str
    steps: tuple[str, ...] = ()
    extra: dict[str, object] = field(default_factory=dict)

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
    question, reasoning, answer = _WORDS[lang]
    parts = [question.format(row.query)]
    if row.steps:
        parts.append(reasoning.format(row.reasoning))
    parts.append(answer.format(row.answer))
    return "\n\n".join(parts)
