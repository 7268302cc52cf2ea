"""Run one recipe on documents with one teacher; knows nothing of steps and shards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.config.verification import VerificationConfig
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.session import current
from openseek.synthesis.teacher import Asker, RowFailure, Teacher
from openseek.synthesis.teachers import build_teacher
from openseek.synthesis.verification import examine


@dataclass
class Outcome:
    """What came of one document.

    Attributes:
        document: The document.
        rows: Its rows, each with the reason to reject it or an empty string.
        failure: Why there are none, if the teacher failed on it.
        usage: Requests, repair turns and tokens.
        checks: For each row what the cheap checks found, beside the reason.
    """

    document: SourceDocument
    rows: list[tuple[Row, str]] = field(default_factory=list)
    failure: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)


def generate(
    documents: Sequence[SourceDocument], recipe: RecipeConfig, config: SynthesisConfig,
    teacher: Teacher | None = None,
) -> list[Outcome]:  # fmt: skip
    """Make and check the rows of some documents, in their order.

    Raises:
        TransientError: The endpoint did not answer in all tries; nothing is returned.
        ConfigError: The endpoint, model or key is wrong.
    """
    session = current()
    if teacher is None and session is not None:
        outcomes = session.run(_generate(documents, recipe, session.teacher))
        copies = False
    else:
        teacher = teacher or build_teacher(config.teacher)
        outcomes = asyncio.run(_closing(documents, recipe, teacher))
        copies = teacher.name == "extractive"
    # Here and not in the coroutines: the loop of a session has requests to send.
    for outcome in outcomes:
        _check(outcome, config.verification, copies=copies)
    return outcomes


def _check(outcome: Outcome, limits: VerificationConfig, *, copies: bool) -> None:
    """Put the cheap checks' findings beside the rows."""
    document, rows = outcome.document, outcome.rows
    outcome.rows, outcome.checks = [], []
    for row, _ in rows:
        found = examine(row, document.text, document.lang, limits, copies=copies)
        outcome.rows.append((row, found.reason))
        outcome.checks.append({"checks": found.checks, "details": found.details})


async def _closing(
    documents: Sequence[SourceDocument], recipe: RecipeConfig, teacher: Teacher
) -> list[Outcome]:
    try:
        return await _generate(documents, recipe, teacher)
    finally:
        await teacher.close()


async def _generate(
    documents: Sequence[SourceDocument], recipe: RecipeConfig, teacher: Teacher
) -> list[Outcome]:
    tasks = [asyncio.ensure_future(_one(d, recipe, teacher)) for d in documents]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(document: SourceDocument, recipe: RecipeConfig, teacher: Teacher) -> Outcome:
    """Ask for the rows of one document; they are not checked yet."""
    asker = Asker(teacher)
    outcome = Outcome(document)
    try:
        rows = await RECIPES[recipe.name].run(document, asker, recipe)
    except RowFailure as failure:
        outcome.failure = failure.reason
    else:
        outcome.rows = [(row, "") for row in rows]
    outcome.usage = asker.ledger.to_json()
    return outcome
