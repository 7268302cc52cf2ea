"""What the i-th new problem is about: a pure function of (seed, recipe, i).

Spec: the generator is PCG64 of BLAKE2b("SEED/RECIPE/I"). A group is drawn evenly; a first topic by
how many seeds have it; a second one by how often it occurs together with the first (itself
included: then there is one topic); key points by how many seeds link them to these topics, without
repetition; and up to two exemplars among the seeds with one of the topics.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from openseek.synthesis.knowledge.taxonomy import Group
from openseek.synthesis.rows import SourceDocument

_EXEMPLARS = 2


def sample(
    groups: Sequence[Group], seed: int, recipe: str, index: int, key_points: int
) -> SourceDocument:
    """Draw topics and key points for one new problem.

    Args:
        groups: At least one.
        seed: The run's seed.
        recipe: Whose sample it is: recipes draw independently.
        index: Number of the sample.
        key_points: Key points at most.
    """
    digest = hashlib.blake2b(f"{seed}/{recipe}/{index}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    group = groups[int(rng.integers(len(groups)))]
    sizes = Counter({a: n for a, b, n in group.together if a == b})
    first = _draw(rng, sizes, 1)[0]
    beside = Counter[int]()
    for a, b, n in group.together:
        if first in (a, b):
            beside[a + b - first] += n
    topics = sorted({first, _draw(rng, beside, 1)[0]})
    weights = Counter[int]()
    for topic, point, n in group.links:
        if topic in topics:
            weights[point] += n
    points = _draw(rng, weights, key_points)
    near = [i for i, s in enumerate(group.seeds) if set(s["topics"]) & set(topics)]
    shown = [group.seeds[i] for i in _draw(rng, dict.fromkeys(near, 1), _EXEMPLARS)]
    return _source(group, topics, points, shown, index)


def _draw(rng: np.random.Generator, weights: dict[int, int], most: int) -> list[int]:
    """Draw up to `most` different keys by their weights, in the order drawn."""
    keys = sorted(weights)
    count = min(most, len(keys))
    if not count:
        return []
    shares = np.array([weights[k] for k in keys], np.float64)
    drawn = rng.choice(len(keys), size=count, replace=False, p=shares / shares.sum())
    return [keys[int(i)] for i in drawn]


def _source(
    group: Group, topics: Iterable[int], points: Iterable[int], shown: list[dict[str, Any]],
    index: int,
) -> SourceDocument:  # fmt: skip
    given = {
        "field": group.field,
        "topics": [group.topics[t] for t in topics],
        "key_points": [group.key_points[p] for p in points],
        "exemplars": [s["problem"] for s in shown],
        "seeds": [s["id"] for s in shown],
    }
    licenses = sorted({s["license"] for s in shown})
    return SourceDocument(
        f"sample-{group.field}-{group.lang}-{index:06d}", "\n\n".join(given["exemplars"]),
        group.lang, group.field == "code", "seeds", " AND ".join(licenses), given=given,
    )  # fmt: skip
