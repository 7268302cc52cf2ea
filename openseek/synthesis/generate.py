"""Run one recipe on documents with one teacher; knows nothing of steps and shards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure, Teacher, build_teacher
from openseek.synthesis.verification import check_row


@dataclass
class Outcome:
    """What came of one document.

    Attributes:
        document: The document.
        rows: Its rows, each with the reason to reject it or an empty string.
        failure: Why there are none, if the teacher failed on it.
        usage: Requests, repair turns and tokens.
    """

    document: SourceDocument
    rows: list[tuple[Row, str]] = field(default_factory=list)
    failure: str = ""
    usage: dict[str, int] = field(default_factory=dict)


def generate(
    documents: Sequence[SourceDocument], recipe: RecipeConfig, config: SynthesisConfig,
    teacher: Teacher | None = None,
) -> list[Outcome]:  # fmt: skip
    """Make and check the rows of some documents, in their order.

    Raises:
        TransientError: The endpoint did not answer in all tries; nothing is returned.
        ConfigError: The endpoint, model or key is wrong.
    """
    return asyncio.run(
        _generate(documents, recipe, config, teacher or build_teacher(config.teacher))
    )


async def _generate(
    documents: Sequence[SourceDocument], recipe: RecipeConfig, config: SynthesisConfig,
    teacher: Teacher,
) -> list[Outcome]:  # fmt: skip
    tasks = [asyncio.ensure_future(_one(d, recipe, config, teacher)) for d in documents]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await teacher.close()


async def _one(
    document: SourceDocument, recipe: RecipeConfig, config: SynthesisConfig, teacher: Teacher
) -> Outcome:
    asker = Asker(teacher)
    outcome = Outcome(document)
    try:
        rows = await RECIPES[recipe.name].run(document, asker, recipe)
    except RowFailure as failure:
        outcome.failure = failure.reason
    else:
        copies = teacher.name == "extractive"
        outcome.rows = [
            (row, check_row(row, document.text, document.lang, config.verification, copies=copies))
            for row in rows
        ]
    outcome.usage = asdict(asker.ledger)
    return outcome


def cost_usd(usage: dict[str, Any], config: SynthesisConfig) -> float:
    """Price a ledger, in US dollars."""
    teacher = config.teacher
    tokens_in, tokens_out = usage["prompt_tokens"], usage["completion_tokens"]
    return (tokens_in * teacher.price_in + tokens_out * teacher.price_out) / 1e6
