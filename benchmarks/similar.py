"""Which documents are really similar: all pairs by the Jaccard similarity of their shingles.

Nothing of it is ours or a peer's: words are cut by a regular expression (a Chinese or Japanese
character is a word), shingles are five words in small letters, and pairs come from an inverted
index. It is exact: two sets of similarity t share one of the rarest |A| - ceil(t |A|) + 1 elements
of each (prefix filter: Chaudhuri et al., ICDE 2006), so only these are in the index.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

NGRAM = 5
LEVELS = (0.7, 0.75, 0.8)
DRAWN = 20_000
"""Linked pairs that are looked at; the standard error of a share of .9 is then .002."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Sets:
    """The shingle sets of all documents.

    Attributes:
        names: Ids of the documents.
        values: Their shingles, sorted and distinct for each, one document after the other.
        starts: Where each document's begin, and the end of the last.
    """

    names: list[str]
    values: NDArray[np.int64]
    starts: NDArray[np.int64]

    def jaccard(self, left: int, right: int) -> float:
        """Compute the similarity of two documents."""
        a, b = (self.values[self.starts[i] : self.starts[i + 1]] for i in (left, right))
        both = np.intersect1d(a, b, assume_unique=True).size
        return both / max(1, a.size + b.size - both)


def sets_of(folder: Path) -> Sets:
    """Read a folder's documents; those without a word are left out."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    names: list[str] = []
    shingles: list[NDArray[np.int64]] = []
    rng = np.random.default_rng(3)
    hashes = rng.integers(-(2**63), 2**63 - 1, 1 << 16)
    scale = rng.integers(-(2**63), 2**63 - 1, NGRAM) | 1
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["id", "text"])
        for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            words = np.array(list(map(numbers.__getitem__, WORD.findall(text.lower()))), np.int64)
            if not words.size:
                continue
            while len(numbers) > hashes.size:
                hashes = np.append(hashes, rng.integers(-(2**63), 2**63 - 1, hashes.size))
            spelt = hashes[np.append(words, np.zeros(max(0, NGRAM - words.size), np.int64))]
            runs = spelt.size - NGRAM + 1
            total = np.zeros(runs, np.int64)
            for k in range(NGRAM):
                total += (spelt[k : k + runs] * scale[k]) ^ (spelt[k : k + runs] >> (5 + k))
            names.append(name)
            shingles.append(np.unique(total))
    starts = np.concatenate([[0], np.cumsum([s.size for s in shingles])])
    return Sets(names, np.concatenate(shingles), starts.astype(np.int64))


def similar_pairs(sets: Sets, level: float) -> dict[Pair, float]:
    """Find all pairs whose similarity is at least `level`."""
    sizes = np.diff(sets.starts)
    _, codes, often = np.unique(sets.values, return_inverse=True, return_counts=True)
    docs = np.repeat(np.arange(sizes.size), sizes)
    order = np.lexsort((codes, often[codes], docs))
    rank = np.arange(docs.size) - np.repeat(sets.starts[:-1], sizes)
    prefix = sizes - np.ceil(level * sizes - 1e-9).astype(np.int64) + 1
    chosen = order[(rank < np.repeat(prefix, sizes)) & (often[codes[order]] > 1)]
    chosen = chosen[np.lexsort((docs[chosen], codes[chosen]))]
    _, first = np.unique(codes[chosen], return_index=True)
    ends = np.append(first[1:], chosen.size)
    candidates: set[Pair] = set()
    for a, b in zip(first.tolist(), ends.tolist(), strict=True):
        if b - a > 1:
            candidates.update(itertools.combinations(docs[chosen[a:b]].tolist(), 2))
    found = {}
    for left, right in candidates:
        small, large = sorted((int(sizes[left]), int(sizes[right])))
        if small >= math.floor(level * large):
            similarity = sets.jaccard(left, right)
            if similarity >= level:
                found[left, right] = similarity
    return found


def recall(linked: Mapping[str, str], sets: Sets, pairs: Mapping[Pair, float]) -> dict[str, float]:
    """Return which share of the really similar pairs is in one cluster, by level.

    Args:
        linked: A document -> the one that stands for its cluster.
        sets: All documents.
        pairs: The similar ones.
    """
    heads = [linked.get(name, name) for name in sets.names]
    shares = {}
    for level in LEVELS:
        some = [pair for pair, similarity in pairs.items() if similarity >= level]
        together = sum(heads[a] == heads[b] for a, b in some)
        shares[str(level)] = round(together / max(1, len(some)), 4)
    return shares


def precision(linked: Mapping[str, str], sets: Sets) -> dict[str, dict[str, float]]:
    """Return which share of what is linked is really similar, by level.

    Returns:
        `pairs`: of all pairs of documents in one cluster (a draw, if there are many). `documents`:
        of the documents in a cluster, those that are similar to another one in it.
    """
    rng = random.Random(5)
    clusters = list(_clusters(linked, sets))
    pairs = [pair for members in clusters for pair in _some_pairs(members, rng)]
    drawn = [sets.jaccard(*pair) for pair in rng.sample(pairs, min(DRAWN, len(pairs)))]
    closest = [
        max(sets.jaccard(one, other) for other in _some(members, one, rng))
        for members in clusters
        for one in members
    ]
    return {
        name: {str(t): round(sum(s >= t for s in found) / max(1, len(found)), 4) for t in LEVELS}
        for name, found in (("pairs", drawn), ("documents", closest))
    }


def _clusters(linked: Mapping[str, str], sets: Sets) -> Iterable[list[int]]:
    places = {name: i for i, name in enumerate(sets.names)}
    members: defaultdict[str, set[int]] = defaultdict(set)
    for name, head in linked.items():
        members[head].update(places[n] for n in (name, head) if n in places)
    return (sorted(m) for m in members.values() if len(m) > 1)


def _some_pairs(members: list[int], rng: random.Random) -> list[Pair]:
    if len(members) <= 300:
        return list(itertools.combinations(members, 2))
    return [(a, b) for a, b in (rng.sample(members, 2) for _ in range(45_000))]


def _some(members: list[int], one: int, rng: random.Random) -> list[int]:
    others = [m for m in members if m != one]
    return others if len(others) <= 300 else rng.sample(others, 300)
