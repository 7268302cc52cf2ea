"""Topics, key points and how often they occur together.

One group for each field and language. The matrix is symmetric and sparse; its diagonal is the
number of seeds with the topic.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from openseek.config.recipes import KnowledgeConfig
from openseek.errors import DataError
from openseek.synthesis.knowledge.merging import clean_name, merge_names
from openseek.synthesis.knowledge.seeds import Seed

VERSION = 1
FILE = "knowledge.json"


@dataclass(frozen=True)
class Group:
    """What the seeds of one field and language are about.

    Attributes:
        field: math, code or commonsense.
        lang: en or zh.
        topics: Their names, most frequent first.
        key_points: Likewise.
        together: (topic, topic, seeds that have both), the smaller number first.
        links: (topic, key point, seeds that have both).
        seeds: Each with id, problem, answer and the numbers of its topics and key points.
        merged: Name -> the one that stands for it, where they differ.
    """

    field: str
    lang: str
    topics: tuple[str, ...]
    key_points: tuple[str, ...]
    together: tuple[tuple[int, int, int], ...]
    links: tuple[tuple[int, int, int], ...]
    seeds: tuple[dict[str, Any], ...]
    merged: dict[str, str]


def build_groups(seeds: Iterable[Seed], config: KnowledgeConfig) -> list[Group]:
    """Merge the names of tagged seeds and count what occurs together.

    Seeds without a topic are left out.
    """
    parts: dict[tuple[str, str], list[Seed]] = {}
    for seed in sorted(seeds, key=lambda s: s.id):
        if seed.topics:
            parts.setdefault((seed.field, seed.lang), []).append(seed)
    return [_group(name, lang, part, config) for (name, lang), part in sorted(parts.items())]


def _group(name: str, lang: str, seeds: list[Seed], config: KnowledgeConfig) -> Group:
    topics, merged_topics = _merge([s.topics for s in seeds], config)
    points, merged_points = _merge([s.key_points for s in seeds], config)
    topic_at = {t: i for i, t in enumerate(dict.fromkeys(_ranked(topics)))}
    point_at = {p: i for i, p in enumerate(dict.fromkeys(_ranked(points)))}
    together, links = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    told = []
    for seed, has, knows in zip(seeds, topics, points, strict=True):
        mine = sorted({topic_at[t] for t in has})
        mine_points = sorted({point_at[p] for p in knows})
        together.update(combinations_with_replacement(mine, 2))
        links.update((t, p) for t in mine for p in mine_points)
        told.append({
            "id": seed.id, "problem": seed.problem, "answer": seed.answer,
            "license": seed.license, "topics": mine, "key_points": mine_points,
        })  # fmt: skip
    return Group(
        name, lang, tuple(topic_at), tuple(point_at),
        tuple((a, b, n) for (a, b), n in sorted(together.items())),
        tuple((a, b, n) for (a, b), n in sorted(links.items())),
        tuple(told), merged_topics | merged_points,
    )  # fmt: skip


def _merge(
    names: list[tuple[str, ...]], config: KnowledgeConfig
) -> tuple[list[list[str]], dict[str, str]]:
    """Return each seed's merged names, and which names were replaced."""
    cleaned = [[n for n in map(clean_name, mine) if n] for mine in names]
    counts = Counter(n for mine in cleaned for n in set(mine))
    chosen = merge_names(counts, config.min_similarity, config.embedding_model)
    replaced = {name: other for name, other in sorted(chosen.items()) if name != other}
    return [[chosen[n] for n in mine] for mine in cleaned], replaced


def _ranked(names: list[list[str]]) -> list[str]:
    counts = Counter(n for mine in names for n in set(mine))
    return sorted(counts, key=lambda n: (-counts[n], n))


def write_groups(groups: list[Group], path: Path) -> None:
    """Write the groups as JSON."""
    told = {"version": VERSION, "groups": [asdict(g) for g in groups]}
    path.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_groups(path: Path) -> list[Group]:
    """Read what `write_groups` wrote.

    Raises:
        DataError: The file is missing or holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return [_read(group) for group in raw["groups"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"no topics and key points: {error}", where=str(path),
            mend=f"Give the {FILE} that the recipe knowledge_tags writes.",
        ) from error  # fmt: skip


def _read(raw: Mapping[str, Any]) -> Group:
    lists = {k: tuple(tuple(e) for e in raw[k]) for k in ("together", "links")}
    names = {k: tuple(raw[k]) for k in ("topics", "key_points", "seeds")}
    return Group(**{**raw, **lists, **names})
