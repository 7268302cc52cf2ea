"""Duplicates among texts in memory: the whole method in one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openseek.config.dedup import DedupConfig
from openseek.dedup import kernels
from openseek.dedup.graph import NEIGHBOURS, Pairs, Standing, choose, components, star_pairs
from openseek.dedup.kernels import jaccard, shingle_sets
from openseek.dedup.minhash import keys_of_bands, pack, qualities, sign


@dataclass(frozen=True)
class Duplicates:
    """Which texts are duplicates.

    Attributes:
        kept: For each text the index of the one that stands for it; its own if it stays.
        exact: True where a text is removed as an exact duplicate of another.
    """

    kept: NDArray[np.int64]
    exact: NDArray[np.bool_]

    @property
    def removed(self) -> NDArray[np.bool_]:
        """True where a text is removed."""
        return np.asarray(self.kept != np.arange(self.kept.size))

    def clusters(self) -> list[list[int]]:
        """List the clusters of more than one text, the kept one first."""
        found: dict[int, list[int]] = {}
        for i in np.flatnonzero(self.removed).tolist():
            kept = int(self.kept[i])
            found.setdefault(kept, [kept]).append(i)
        return [found[k] for k in sorted(found)]


def find_duplicates(
    texts: Sequence[str],
    config: DedupConfig | None = None,
    *,
    ids: Sequence[str] = (),
    sources: Sequence[str] = (),
    scores: Sequence[float | None] = (),
) -> Duplicates:
    """Find exact and near duplicates among texts.

    Args:
        texts: Texts.
        config: What counts as a duplicate and what stays; none: the defaults.
        ids: Their ids, which settle ties; empty: their positions.
        sources: Their sources, for `config.priority`; empty: unknown.
        scores: Their quality, 0 to 1, for `prefer: quality`; None or empty: guessed.

    Returns:
        Which text stands for which.
    """
    config = config or DedupConfig()
    n = len(texts)
    buf, offsets = pack(texts)
    digests = kernels.digests(buf, offsets)
    nodes = np.arange(n, dtype=np.uint64)
    edges = [np.empty((0, 2), np.uint64)]
    if config.exact:
        edges.append(star_pairs((digests[:, 0], digests[:, 1]), nodes))
    if config.near and n:
        pairs = candidate_pairs(*sign(buf, offsets, config), nodes, config)
        edges.append(verified_pairs(pairs, texts, config) if config.verify else pairs)
    linked, roots = components(np.concatenate(edges))
    ranks = qualities(buf, offsets, scores)
    standings = [
        Standing(
            ids[i] if ids else f"{i:012d}",
            sources[i] if sources else "",
            len(texts[i]),
            int(ranks[i]),
        )
        for i in linked.tolist()
    ]
    chosen = choose(roots, standings, config)
    kept = np.arange(n)
    places = linked.astype(np.int64)
    kept[places] = places[chosen]
    same = (digests == digests[kept]).all(axis=1)
    return Duplicates(kept, same & (kept != np.arange(n)))


def candidate_pairs(
    table: NDArray[np.uint32],
    shingles: NDArray[np.int64],
    nodes: NDArray[np.uint64],
    config: DedupConfig,
) -> Pairs:
    """Pair texts that agree in a band; texts without a shingle have no pair."""
    keys = keys_of_bands(table, config)[shingles > 0]
    before = NEIGHBOURS if config.verify else 0
    return star_pairs((keys.ravel(),), np.repeat(nodes[shingles > 0], config.keys), before)


def verified_pairs(
    pairs: Pairs, texts: Sequence[str] | Mapping[int, str], config: DedupConfig
) -> Pairs:
    """Keep the pairs of texts whose true Jaccard similarity is at least `config.min_jaccard`.

    Args:
        pairs: Pairs of indexes in `texts`.
        texts: The texts, at least those of the pairs.
        config: Shingles and smallest similarity.
    """
    involved = np.unique(pairs)
    values, starts = shingle_sets(*pack([texts[i] for i in involved.tolist()]), config.ngram)

    def shingles(place: int) -> NDArray[np.uint64]:
        return np.asarray(values[starts[place] : starts[place + 1]], np.uint64)

    left, right = (np.searchsorted(involved, pairs[:, side]).tolist() for side in (0, 1))
    similar = [
        jaccard(shingles(a), shingles(b)) >= config.min_jaccard
        for a, b in zip(left, right, strict=True)
    ]
    return pairs[np.array(similar, np.bool_)]
