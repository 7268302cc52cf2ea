"""What a step will ask of a teacher, before it runs: requests, tokens, money. An estimate.

Documents are counted and measured on a sample; tokens follow from characters, answers and the
number of requests from what the recipes typically need. Expect half to twice of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from openseek.artifacts.files import FileSet, names
from openseek.config.labelling import LabellingConfig
from openseek.config.recipes import NEEDS
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.config.teachers import TeacherConfig
from openseek.corpus.shards import iter_batches
from openseek.synthesis.knowledge.seeds import fitting_seeds
from openseek.synthesis.prices import price_of

CHARS_PER_TOKEN = {"en": 4.0, "zh": 1.6}
PROMPT_TOKENS = 250  # of the instructions around a document
TYPICAL_CHARS = 2500  # of a document, where there is none to look at
SAMPLE_FILES, SAMPLE_ROWS = 4, 512


@dataclass(frozen=True)
class Need:
    """What one document needs: requests, times it is read, tokens of all answers."""

    requests: float
    readings: float
    answers: float


GRADE = Need(1, 1, 60)


@dataclass(frozen=True)
class Sample:
    """Documents that a step may draw from.

    Attributes:
        documents: Their number, all in all.
        tokens: Tokens of those that were looked at, as the teacher would read them.
        looked_at: Whether there were any to look at; else both are guesses.
    """

    documents: int
    tokens: Sequence[float]
    looked_at: bool = True

    @property
    def mean_tokens(self) -> float:
        """Tokens of a document."""
        return float(np.mean(self.tokens)) if len(self.tokens) else 0.0


def project(
    config: SynthesisConfig | LabellingConfig, documents: FileSet | None
) -> dict[str, Any] | None:
    """Estimate what a step asks.

    Args:
        config: Its section.
        documents: What it draws from, if that is there already.

    Returns:
        requests, prompt_tokens, completion_tokens, usd (None: no price is known), limit_usd, basis;
        None for work that asks nobody.
    """
    teacher = config.teacher
    if teacher is None or teacher.kind == "extractive":
        return None
    needs = list(_needs(config, documents))
    requests = sum(n * need.requests for n, _, need, _ in needs)
    prompt = sum(
        n * (need.readings * tokens + need.requests * PROMPT_TOKENS) for n, tokens, need, _ in needs
    )
    completion = sum(n * min(need.answers, need.requests * teacher.max_tokens)
                     for n, _, need, _ in needs)  # fmt: skip
    looked_at = all(looked for *_, looked in needs)
    return {
        "teacher": teacher.model,
        "requests": round(requests),
        "prompt_tokens": round(prompt),
        "completion_tokens": round(completion),
        "usd": _usd(teacher, prompt, completion),
        "limit_usd": teacher.max_cost_usd or None,
        "basis": "a sample of the documents" if looked_at else "documents of typical length",
    }


def _usd(teacher: TeacherConfig, prompt: float, completion: float) -> float | None:
    price = price_of(teacher)
    return round(price.usd(prompt, completion), 4) if price.known else None


def _needs(
    config: SynthesisConfig | LabellingConfig, documents: FileSet | None
) -> Iterable[tuple[int, float, Need, bool]]:
    """Yield documents, tokens of one, what one needs, and whether any were looked at."""
    if isinstance(config, LabellingConfig):
        sample = _sample(documents, config.categories, config.min_chars, config.read_chars)
        n = min(config.documents, sample.documents or config.documents)
        yield n * len(config.prompts), sample.mean_tokens, GRADE, sample.looked_at
        return
    given: dict[str, int] = {}  # recipe -> what it is given
    for recipe in config.recipes:
        sample = _sample(documents, recipe.categories, recipe.min_chars, recipe.read_chars)
        there = sample.documents if sample.looked_at else recipe.max_documents
        if recipe.name == "knowledge_tags":
            there = len(fitting_seeds(recipe, config.knowledge))
        elif recipe.name in SAMPLED:
            there = recipe.max_documents
        elif recipe.name in NEEDS and not recipe.rows_from:
            there = given.get(NEEDS[recipe.name], there)  # at most a row of each document
        n = given[recipe.name] = min(recipe.max_documents, there)
        yield n, sample.mean_tokens, needed(recipe, sample.mean_tokens), sample.looked_at


SAMPLED = ("key_points", "rl_math", "rl_code", "rl_commonsense")
"""Recipes that are given samples of knowledge, and no documents."""


def needed(recipe: RecipeConfig, tokens: float) -> Need:
    """Say what a recipe needs for one of what it is given.

    Args:
        recipe: The recipe with its options.
        tokens: Tokens of a document.
    """
    pairs = max(1.0, min(recipe.max_items, 4.0 * tokens / recipe.chars_per_item))
    parts, votes, forms = min(recipe.max_items, 5), recipe.solutions, len(recipe.kinds)
    agree = 1 if recipe.ask_agreement else 0
    needs = {
        "simple_qa": Need(1, 1, 60 * pairs),
        # Markers, a thought for each segment, the chain, the question.
        "long_cot_backward": Need(3 + parts, 2.5, 40 * parts + 60 * parts + 400),
        "long_cot_forward": Need(1 + agree, 0.5, 1500),
        # A turn and its passages read, the last answer; each sees the reasoning so far.
        "long_cot_rag": Need(2 * recipe.turns + 1 + agree, 0.5 * recipe.turns, 300 * recipe.turns),
        "rephrase": Need(forms, forms, 350 * forms),
        "knowledge_tags": Need(1, 0, 80),
        "annotate": Need(1, 1, 100),
        # The problem, its review, the solutions that vote.
        "key_points": Need(2 + votes, 0, 200 + 400 * votes),
        "rl_math": Need(2 + votes, 0, 200 + 400 * votes),
        "rl_code": Need(1, 0, 600),
        "rl_commonsense": Need(1 + votes, 0, 200 + 200 * votes),
        "rl_writing": Need(2, 1, 800),
        "rl_translation": Need(2, 0.5, 800),
    }
    return needs[recipe.name]


def _sample(
    documents: FileSet | None, categories: Sequence[str], min_chars: int, read_chars: int
) -> Sample:
    """Look at the first rows of a few files; count the others by the share that fits."""
    listed = names(documents, "*.parquet") if documents is not None else []
    if documents is None or not listed:
        tokens = min(TYPICAL_CHARS, read_chars) / CHARS_PER_TOKEN["en"]
        return Sample(0, [tokens], looked_at=False)
    step = max(1, len(listed) // SAMPLE_FILES)
    chosen = listed[::step][:SAMPLE_FILES]
    rows, seen, found = 0, 0, list[float]()
    for record in documents.records():
        rows += record.rows or 0
    for name in chosen:
        batch = next(iter(iter_batches(documents.local(name), ["text", "category", "lang"])), None)
        if batch is None:
            continue
        batch = batch.slice(0, SAMPLE_ROWS)
        chars = pc.utf8_length(batch["text"]).to_numpy(zero_copy_only=False)
        fits = np.isin(batch["category"].to_numpy(zero_copy_only=False), categories)
        fits &= chars >= min_chars
        chinese = pc.starts_with(batch["lang"], "zh").to_numpy(zero_copy_only=False)
        a_token = np.where(chinese, CHARS_PER_TOKEN["zh"], CHARS_PER_TOKEN["en"])
        found += (np.minimum(chars, read_chars) / a_token)[fits].tolist()
        seen += batch.num_rows
    share = len(found) / seen if seen else 0.0
    return Sample(round(share * max(rows, seen)), found)
