"""Recipes: one file each, with its prompts in English and Chinese and the shape of its answers.

A recipe is `async run(document, asker, config) -> list[Row]` plus a `NAME` and a `VERSION` that is
raised whenever a prompt changes. It knows no teacher: whether a language model or fixed rules
answer makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from openseek.config.synthesis import RecipeConfig
from openseek.synthesis.recipes import long_cot_backward, simple_qa
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker


@dataclass(frozen=True)
class Recipe:
    """A recipe's name, the version of its prompts, and what it does with a document."""

    name: str
    version: int
    run: Callable[[SourceDocument, Asker, RecipeConfig], Awaitable[list[Row]]]


RECIPES = {
    module.NAME: Recipe(module.NAME, module.VERSION, module.run)
    for module in (simple_qa, long_cot_backward)
}
