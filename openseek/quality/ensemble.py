"""From raw scores to one score and a tier, the same for any split into shards.

CCI4.0 (and Nemotron-CC before it) puts each scorer's raw scores into 20 bins of equal mass within a
language and takes a document's highest bin. That leaves 20 levels; here documents of the same level
are ordered by their mean rank over all scorers, which keeps the level and makes tiers of equal mass
possible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

TIERS = ("low", "medium", "high")

_BITS = 20  # of a float32: sign, exponent and 11 bits of fraction, 0.05 % relative


class Sketch:
    """A histogram over the float32 line: exact to add up, in any order, over any number of shards.

    Cells are the leading 20 bits of the number, so values that differ by less than 0.05 % share
    one; memory is one entry a filled cell, whatever the number of documents.
    """

    def __init__(self) -> None:
        self._cells: dict[int, int] = {}

    def add(self, values: NDArray[np.float32]) -> None:
        """Count values; NaN is no value."""
        known = np.asarray(values, np.float32)
        cells, counts = np.unique(_cell(known[~np.isnan(known)]), return_counts=True)
        for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
            self._cells[cell] = self._cells.get(cell, 0) + count

    def merge(self, other: Sketch) -> None:
        """Count all values of another sketch too."""
        for cell, count in other._cells.items():
            self._cells[cell] = self._cells.get(cell, 0) + count

    @property
    def total(self) -> int:
        """How many values were added."""
        return sum(self._cells.values())

    def rank(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the share of all values below each value, ties counted half: in (0, 1).

        NaN ranks as NaN, and so does everything where nothing was added.
        """
        if not self._cells:
            return np.full(len(values), np.nan)
        cells = np.array(sorted(self._cells), np.int64)
        counts = np.array([self._cells[c] for c in cells.tolist()], np.int64)
        upto = np.cumsum(counts)
        at = np.searchsorted(cells, _cell(values))
        at = np.minimum(at, len(cells) - 1)
        ranks = (upto[at] - counts[at] / 2) / upto[-1]
        return np.asarray(np.where(np.isnan(values), np.nan, ranks))

    def cut(self, quantile: float) -> int:
        """Return the cell of the smallest value that at most 1 - quantile of all lie above.

        Where nothing was added, nothing lies above the cut.
        """
        if not self._cells:
            return int(_cell(np.array([np.inf], np.float32))[0])
        cells = np.array(sorted(self._cells), np.int64)
        upto = np.cumsum([self._cells[c] for c in cells.tolist()])
        at = np.searchsorted(upto, np.ceil(quantile * (upto[-1] - 1)) + 1)
        return int(cells[min(at, len(cells) - 1)])


def above(values: NDArray[np.float32], cell: int) -> NDArray[np.bool_]:
    """Tell which values lie above a `Sketch.cut`; NaN does not."""
    return np.asarray((_cell(values) > cell) & ~np.isnan(values))


def _cell(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Map floats to integers that sort alike (IEEE 754 bits, negative ones mirrored)."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return ordered >> (32 - _BITS)


def combine(ranks: Sequence[NDArray[np.float64]], bins: int) -> NDArray[np.float32]:
    """Join the ranks that several scorers give to documents of one language.

    score = (max_s bin_s + mean_s rank_s) / bins, in (0, 1): the highest bin decides, the mean rank
    orders within it. A scorer without an opinion (NaN) takes no part; without any the score is 0.

    Args:
        ranks: One array a scorer, from `Sketch.rank`.
        bins: Number of equal-mass bins.
    """
    stacked = np.stack(ranks)
    silent = np.isnan(stacked)
    known = np.where(silent, 0.0, stacked)
    level = np.minimum((known * bins).astype(np.int64), bins - 1).max(axis=0)
    mean = known.sum(axis=0) / np.maximum((~silent).sum(axis=0), 1)
    return np.asarray((level + mean) / bins, np.float32)


def tier_of(
    scores: NDArray[np.float32], sketch: Sketch, medium_from: float, high_from: float
) -> list[str]:
    """Name the tier of each score by its quantile among its language and category."""
    rank = sketch.rank(scores)
    level = (rank >= medium_from).astype(np.int64) + (rank >= high_from)
    return [TIERS[i] for i in level.tolist()]


def group_rows(keys: Sequence[str]) -> Mapping[str, NDArray[np.int64]]:
    """Split row numbers by key, keys sorted."""
    array = np.asarray(keys, dtype=object)
    return {key: np.flatnonzero(array == key) for key in sorted(set(keys))}
