"""Which documents or published rows a recipe is given: drawn by a hash of (seed, recipe, id).

The same ones are drawn whatever shards they lie in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openseek.artifacts.files import FileSet, names
from openseek.config.recipes import NEEDS
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.corpus.document import domain_of
from openseek.corpus.shards import iter_batches
from openseek.synthesis.rows import Row, SourceDocument

_DRAWN_BY = ["id", "text", "category", "tier"]
_COLUMNS = [*_DRAWN_BY, "source", "lang", "license", "meta"]


@dataclass(frozen=True)
class Work:
    """Something for one recipe to do.

    Attributes:
        index: Number of the piece within the step.
        recipe: The recipe.
        rows: Where its documents or published rows lie: file name, row; sorted.
        of: Shard of answers whose rows it goes on from.
        span: First and end of the seeds, samples or rows that are its own.
    """

    index: int
    recipe: RecipeConfig
    rows: tuple[tuple[str, int], ...] = ()
    of: str = ""
    span: tuple[int, int] = (0, 0)

    @property
    def answers(self) -> str:
        """Name of the shard of its answers."""
        return f"answers-{self.index:05d}"

    @property
    def name(self) -> str:
        """Name of the shard of its documents."""
        return f"synthetic-{self.index:05d}"


def draw(
    documents: FileSet, config: SynthesisConfig, seed: int,
    recipes: Sequence[RecipeConfig] | None = None,
    allowed: Mapping[str, frozenset[str]] | None = None, first: int = 0,
) -> list[Work]:  # fmt: skip
    """Draw each recipe's documents and cut them into pieces of `shard_documents`.

    Args:
        documents: The documents.
        config: The section.
        seed: The run's seed.
        recipes: Only these recipes. None: all.
        allowed: Recipe -> ids of the documents it may have. A recipe that is not named: all.
        first: Number of the first piece.
    """
    drawing = config.recipes if recipes is None else recipes
    chosen: dict[str, list[tuple[bytes, str, int]]] = {r.name: [] for r in drawing}
    for name in names(documents, "*.parquet"):
        row = 0
        for batch in iter_batches(documents.local(name), _DRAWN_BY):
            for recipe in drawing:
                found = chosen[recipe.name]
                ids = allowed.get(recipe.name) if allowed else None
                found += _eligible(batch, recipe, seed, name, row, ids)
                found.sort()
                del found[recipe.max_documents :]
            row += batch.num_rows
    work: list[Work] = []
    for recipe in drawing:
        work += _pieces(chosen[recipe.name], recipe, config, first + len(work))
    return work


def draw_rows(
    files: FileSet, recipe: RecipeConfig, config: SynthesisConfig, seed: int, first: int
) -> list[Work]:
    """Draw from the published rows of the recipe that this one goes on from."""
    found: list[tuple[bytes, str, int]] = []
    for name in names(files, "*.parquet"):
        row = 0
        for batch in iter_batches(files.local(name), ["id", "meta"]):
            for i, meta in enumerate(batch["meta"].to_pylist()):
                if json.loads(meta or "{}").get("recipe") == NEEDS[recipe.name]:
                    found.append((_place(seed, recipe, batch["id"][i].as_py()), name, row + i))
            found.sort()
            del found[recipe.max_documents :]
            row += batch.num_rows
    return _pieces(found, recipe, config, first)


def _pieces(
    found: Sequence[tuple[bytes, str, int]], recipe: RecipeConfig, config: SynthesisConfig,
    first: int,
) -> list[Work]:  # fmt: skip
    places = sorted((name, row) for _, name, row in found)
    size = config.shard_documents
    cut = [tuple(places[at : at + size]) for at in range(0, len(places), size)]
    return [Work(first + i, recipe, piece) for i, piece in enumerate(cut)]


def _eligible(
    batch: pa.RecordBatch,
    recipe: RecipeConfig,
    seed: int,
    name: str,
    first: int,
    allowed: frozenset[str] | None = None,
) -> list[tuple[bytes, str, int]]:
    fits = np.isin(batch["category"].to_numpy(zero_copy_only=False), recipe.categories)
    fits &= pc.utf8_length(batch["text"]).to_numpy(zero_copy_only=False) >= recipe.min_chars
    if recipe.tiers:
        fits &= np.isin(batch["tier"].to_numpy(zero_copy_only=False), recipe.tiers)
    if allowed is not None:
        fits &= np.isin(batch["id"].to_numpy(zero_copy_only=False), sorted(allowed))
    ids = batch["id"]
    return [
        (_place(seed, recipe, ids[row].as_py()), name, first + row)
        for row in np.flatnonzero(fits).tolist()
    ]


def _place(seed: int, recipe: RecipeConfig, id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{recipe.name}/{id}".encode(), digest_size=8).digest()


def load(work: Work, documents: FileSet) -> list[SourceDocument]:
    """Read the drawn rows, and of each file only as far as they reach."""
    loaded = []
    for name in dict.fromkeys(name for name, _ in work.rows):
        wanted = [row for file, row in work.rows if file == name]
        first = 0
        for batch in iter_batches(documents.local(name), _COLUMNS):
            mine = [row - first for row in wanted if first <= row < first + batch.num_rows]
            raws = batch.take(pa.array(mine, pa.int64())).to_pylist() if mine else []
            loaded += [_source_document(raw, work.recipe.read_chars) for raw in raws]
            first += batch.num_rows
            if first > wanted[-1]:
                break
    return loaded


def _source_document(raw: dict[str, Any], read_chars: int) -> SourceDocument:
    """Read a document, or a published row: then its own document is no longer at hand."""
    meta = json.loads(raw["meta"] or "{}")
    if "recipe" in meta and "query" in meta:
        row = Row(meta["query"], meta["answer"], tuple(meta.get("steps", ())), kind="cot")
        return SourceDocument(
            meta["source_id"], "", "zh" if raw["lang"].startswith("zh") else "en", False,
            meta["source"], raw["license"], domain_of(raw["meta"]), raw["tier"], row,
        )  # fmt: skip
    return SourceDocument(
        id=raw["id"],
        text=raw["text"][:read_chars],
        lang="zh" if raw["lang"].startswith("zh") else "en",
        code=raw["category"] == "code",
        source=raw["source"],
        license=raw["license"],
        domain=domain_of(raw["meta"]),
        tier=raw["tier"],
    )
