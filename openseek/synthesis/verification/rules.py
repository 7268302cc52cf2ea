"""The cheap checks of one row, which need nothing but the row and its document.

They run in the worker that asked the teacher; every rejection has one reason, the first that holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from openseek.config.verification import VerificationConfig
from openseek.synthesis.rows import Row, render
from openseek.synthesis.verification.alone import leans_on_text
from openseek.synthesis.verification.copying import copy_share
from openseek.synthesis.verification.language import other_language


@dataclass(frozen=True)
class Finding:
    """What some checks found about a row.

    Attributes:
        reason: Why it is rejected; empty: it is not.
        checks: Check that was passed -> its score.
        details: What else belongs to the rejection: the language found, the end of an output.
    """

    reason: str = ""
    checks: dict[str, float] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)


def check_row(
    row: Row, document: str, lang: str, config: VerificationConfig, *, copies: bool
) -> str:
    """Return the reason to reject a row, or an empty string; see `examine`."""
    return examine(row, document, lang, config, copies=copies).reason


def examine(
    row: Row, document: str, lang: str, config: VerificationConfig, *, copies: bool
) -> Finding:
    """Check a row's shape, language and independence of its document.

    Args:
        row: The row.
        document: What it was made from.
        lang: `en` or `zh`.
        config: Limits.
        copies: Whether its teacher copies by nature (see `check_copy_extractive`).
    """
    if row.kind == "tags":  # never published: what other recipes are given
        return Finding()
    text = render(row, lang)
    checks: dict[str, float] = {}
    if reason := _shape(row, text, lang, config):
        return Finding(reason)
    checks["length"] = len(text)
    if config.language and not copies:  # what is copied is in its document's language
        told = _told(row)
        found, doubt = other_language(told, lang, config.language_chars)
        if doubt >= config.language:
            return Finding("language", checks, {"language": found, "probability": round(doubt, 4)})
        checks["language"] = round(1 - doubt, 4)
    if config.stands_alone and row.query:
        if leans_on_text(row.query, lang):
            return Finding("query_leans_on_text", checks)
        checks["stands_alone"] = 1
    if config.max_copy < 1 and (config.check_copy_extractive or not copies):
        told = row.text if row.kind == "text" else "\n".join([*row.steps, row.answer])
        share = round(copy_share(told, document, config.copy_ngram), 4)
        if share > config.max_copy:
            return Finding("copied", checks, {"share": share})
        checks["copied"] = share
    return Finding("", checks)


def _shape(row: Row, text: str, lang: str, config: VerificationConfig) -> str:
    short = 2 if lang == "zh" else 1  # a Chinese character says about twice as much as a letter
    if len(text) > config.max_chars:
        return "too_long"
    if row.kind == "text":
        return "text_length" if len(row.text) * short < config.min_text_chars else ""
    task = row.kind in ("problem", "rl")
    most = config.max_task_chars if task else config.max_query_chars
    if not config.min_query_chars <= len(row.query) * short or len(row.query) > most:
        return "query_length"
    if task and not (row.final or row.tests or row.answer):
        return "no_answer"
    if not task and len(row.answer) * short < config.min_answer_chars:
        return "answer_length"
    if row.steps and len(row.steps) < config.min_steps:
        return "too_few_steps"
    if row.query.strip().lower() == row.answer.strip().lower():
        return "answer_is_query"
    return ""


def _told(row: Row) -> str:
    """Return what must be in the document's language: of a task only the task."""
    if row.kind == "text":
        return row.text
    return row.query if row.kind == "rl" else "\n".join([row.query, *row.steps, row.answer])
