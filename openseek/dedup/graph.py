"""From equal keys to pairs, from pairs to clusters, from clusters to the document that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openseek.config.dedup import DedupConfig
from openseek.dedup.kernels import union_find

Nodes = NDArray[np.uint64]
Pairs = NDArray[np.uint64]
"""uint64 of shape [pairs, 2], the smaller node first."""


NEIGHBOURS = 4
"""Nodes of a bucket before each one that it is compared with besides the first, when pairs are
verified: of the pairs of similarity .7 or more in 329 MB of prose and code .964 were then found,
.948 by the first alone, and no more by all of the bucket, which is quadratic."""


def star_pairs(keys: Sequence[NDArray[np.uint64]], nodes: Nodes, before: int = 0) -> Pairs:
    """Pair every node with the smallest node of the same key; each pair once, sorted.

    Args:
        keys: Parts of the key, each of shape [n]; equal keys are equal in all parts.
        nodes: Node of each key.
        before: Pair it also with so many nodes of the same key before it.
    """
    if nodes.size == 0:
        return np.empty((0, 2), np.uint64)
    order = np.lexsort((nodes, *keys))
    nodes = nodes[order]
    first = np.ones(nodes.size, np.bool_)
    first[1:] = False
    for part in keys:
        ordered = part[order]
        first[1:] |= ordered[1:] != ordered[:-1]
    head = np.flatnonzero(first)[np.cumsum(first) - 1]
    rest = np.flatnonzero(nodes != nodes[head])
    pairs = [np.stack([nodes[head[rest]], nodes[rest]], axis=1)]
    for distance in range(1, before + 1):
        late = rest[rest - distance > head[rest]]
        pairs.append(np.stack([nodes[late - distance], nodes[late]], axis=1))
    found = np.concatenate(pairs)
    return unique_pairs(found[found[:, 0] != found[:, 1]])


def pairs_with(
    old_keys: NDArray[np.uint64], old: Nodes, keys: NDArray[np.uint64], nodes: Nodes
) -> Pairs:
    """Pair every node with the smallest old node of the same key; the old one first, sorted."""
    order = np.lexsort((old, old_keys))
    known, first = np.unique(old_keys[order], return_index=True)
    if not known.size:
        return np.empty((0, 2), np.uint64)
    place = np.minimum(np.searchsorted(known, keys), known.size - 1)
    met = known[place] == keys
    return unique_pairs(np.stack([old[order][first[place[met]]], nodes[met]], axis=1))


def unique_pairs(pairs: Pairs) -> Pairs:
    """Sort pairs by second and first node and drop repetitions."""
    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    pairs = pairs[order]
    keep = np.ones(len(pairs), np.bool_)
    keep[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[keep]


def components(pairs: Pairs) -> tuple[Nodes, NDArray[np.int64]]:
    """Find connected components.

    Returns:
        The nodes of all pairs, ascending, and for each the index of its component's first node.
    """
    nodes, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    roots = union_find(nodes.size, places[:, 0].copy(), places[:, 1].copy())
    return nodes, np.asarray(roots, np.int64)


def forest(pairs: Pairs) -> Pairs:
    """Return fewer pairs that connect the same nodes: each with its component's smallest."""
    nodes, roots = components(pairs)
    leaves = np.flatnonzero(roots != np.arange(nodes.size))
    return np.stack([nodes[roots[leaves]], nodes[leaves]], axis=1)


@dataclass(frozen=True)
class Standing:
    """What decides which of some duplicates stays.

    Attributes:
        id: Id of the document; settles ties.
        source: Its source.
        chars: Length of its text.
        quality: Rank by quality, larger is better: 0 to 100 by `plainness`, 1000 to 2000 by score.
        earlier: It is of an earlier run's index, and so stays in any case.
    """

    id: str
    source: str
    chars: int
    quality: int = 0
    earlier: bool = False


def choose(
    roots: NDArray[np.int64], standings: Sequence[Standing], config: DedupConfig
) -> NDArray[np.int64]:
    """Choose the document of each cluster that stays.

    What an earlier run has kept comes first, then the best source, then (as configured) the best
    quality and the longest text, then the smallest id: nothing that depends on the order of shards
    or documents.

    Args:
        roots: For each document the index of its cluster's first.
        standings: The documents.
        config: Priority and preference.

    Returns:
        For each document the index of the one that stays.
    """
    best: dict[int, int] = {}
    ranks = {source: i for i, source in enumerate(config.priority)}

    def order(i: int) -> tuple[bool, int, int, int, str]:
        s = standings[i]
        quality = -s.quality if config.prefer == "quality" else 0
        longest = 0 if config.prefer == "any" else -s.chars
        return not s.earlier, ranks.get(s.source, len(ranks)), quality, longest, s.id

    for i, root in enumerate(roots.tolist()):
        if root not in best or order(i) < order(best[root]):
            best[root] = i
    return np.array([best[root] for root in roots.tolist()], np.int64)
