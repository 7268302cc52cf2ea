"""Recipes: one file each, with its prompts in English and Chinese and the shape of its answers.

A recipe is `async run(source, asker, config) -> list[Row]` plus a `NAME`, a `VERSION` that is
raised whenever a prompt changes, and `GIVES`: what it is given. It knows no teacher: whether a
language model or fixed rules answer makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType

from openseek.config.synthesis import RecipeConfig
from openseek.synthesis.recipes import (
    annotate,
    key_points,
    knowledge_tags,
    long_cot_backward,
    long_cot_forward,
    long_cot_rag,
    rephrase,
    rl_code,
    rl_commonsense,
    rl_math,
    rl_translation,
    rl_writing,
    simple_qa,
)
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        name: Its name.
        version: Version of its prompts.
        gives: What it is given: `documents`, `rows:RECIPE` (rows of an earlier recipe), `seeds`
            (seed problems), `knowledge` (samples of topics and key points) or `knowledge:FIELD`
            (those of one field).
        about: One line for those who choose among recipes.
        run: Makes rows of one source.
    """

    name: str
    version: int
    gives: str
    about: str
    run: Callable[[SourceDocument, Asker, RecipeConfig], Awaitable[list[Row]]]


def _recipe(module: ModuleType) -> Recipe:
    about = (module.__doc__ or "").split("\n", 1)[0].split(": ", 1)[-1]
    return Recipe(module.NAME, module.VERSION, module.GIVES, about, module.run)


_MODULES = (
    simple_qa, long_cot_backward, long_cot_forward, long_cot_rag, rephrase, knowledge_tags,
    annotate, key_points, rl_math, rl_code, rl_commonsense, rl_writing, rl_translation,
)  # fmt: skip
RECIPES = {m.NAME: _recipe(m) for m in _MODULES}
