"""What `annotate` found in documents: written as JSONL, and used to draw documents by it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openseek.config.recipes import KnowledgeConfig, RecipeConfig
from openseek.errors import DataError
from openseek.synthesis.knowledge.merging import clean_name, merge_names
from openseek.synthesis.rows import Row

FILE = "annotations.jsonl"


@dataclass(frozen=True)
class Annotation:
    """A document's field, topics and key points, and the recipes that it suits."""

    id: str
    lang: str
    field: str
    topics: tuple[str, ...]
    key_points: tuple[str, ...]
    suits: tuple[str, ...]


def annotations_of(
    rows: Iterable[tuple[str, str, Row]], config: KnowledgeConfig
) -> list[Annotation]:
    """Read the rows of `annotate` (document id, language, row); merge their topics by language."""
    found = [
        Annotation(
            id, lang, str(row.extra["field"]), _clean(row), _names(row, "key_points"),
            _names(row, "suits"),
        )
        for id, lang, row in rows
    ]  # fmt: skip
    chosen: dict[str, dict[str, str]] = {}
    for lang in sorted({a.lang for a in found}):
        counts = Counter(t for a in found if a.lang == lang for t in a.topics)
        chosen[lang] = merge_names(counts, config.min_similarity, config.embedding_model)
    return [
        Annotation(
            a.id, a.lang, a.field, tuple(dict.fromkeys(chosen[a.lang][t] for t in a.topics)),
            a.key_points, a.suits,
        )
        for a in found
    ]  # fmt: skip


def _clean(row: Row) -> tuple[str, ...]:
    return tuple(n for n in map(clean_name, _names(row, "topics")) if n)


def _names(row: Row, key: str) -> tuple[str, ...]:
    value = row.extra[key]
    return tuple(map(str, value)) if isinstance(value, list) else ()


def write_annotations(annotations: Iterable[Annotation], path: Path) -> None:
    """Write one line a document."""
    with path.open("w", encoding="utf-8") as f:
        for one in annotations:
            f.write(json.dumps(vars(one), ensure_ascii=False) + "\n")


def read_annotations(path: Path) -> list[Annotation]:
    """Read what `write_annotations` wrote.

    Raises:
        DataError: The file is missing or a line is none.
    """
    try:
        with path.open(encoding="utf-8") as f:
            raws = [json.loads(line) for line in f if line.strip()]
        return [_read(raw) for raw in raws]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"no annotations: {error}", where=str(path),
            mend=f"Give the {FILE} that the recipe annotate writes.",
        ) from error  # fmt: skip


def _read(raw: dict[str, Any]) -> Annotation:
    lists = {k: tuple(raw[k]) for k in ("topics", "key_points", "suits")}
    return Annotation(**(raw | lists))


def fitting(annotations: Iterable[Annotation], recipe: RecipeConfig) -> frozenset[str]:
    """Return the ids of the documents that a recipe selects."""
    wanted = {clean_name(t) for t in recipe.topics}
    return frozenset(
        a.id
        for a in annotations
        if (not recipe.suits or recipe.suits in a.suits)
        and (not wanted or not wanted.isdisjoint(a.topics))
    )
