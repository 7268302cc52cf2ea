"""A group's documents as one run of tokens over segments of token shards.

Most segments are read whole, or not at all. Of a segment with documents of several domains, a group
may want some domains only: then its documents of these, in their order, are the segment's part of
the stream. Where they lie is worked out from the shard's `starts` and `domains` when it is first
read, so that a mixture holds no list of documents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from openseek.artifacts.files import Json
from openseek.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

_KEPT_RUNS = 200  # segments read in part whose runs are kept: 16 bytes a run


class Stream:
    """A group's documents as one run of tokens over parts of shards.

    Args:
        group: The group in mixture.json.
        key: Key of its order.
        array: (shard, kind of file) -> its array.
    """

    def __init__(self, group: Json, key: int, array: Callable[[int, str], Array]) -> None:
        self.n_sequences: int = group["available_sequences"]
        self.key = key
        self._segments = np.asarray(group["segments"], dtype=np.int64).reshape(-1, 3)
        self._ends = np.cumsum(self._segments[:, 2])
        self._selected: Json = group.get("selected", {})
        self._array = array
        self._runs = functools.lru_cache(maxsize=_KEPT_RUNS)(self._find_runs)

    def pieces(self, position: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Find where `length` tokens from `position` on lie: (shard, first token, tokens)."""
        number = int(np.searchsorted(self._ends, position, side="right"))
        while length > 0:
            shard, first, size = map(int, self._segments[number])
            skipped = position - (int(self._ends[number]) - size)
            taken = min(length, size - skipped)
            if str(number) in self._selected:
                firsts, ends = self._runs(number)
                yield from ((shard, *run) for run in _within(firsts, ends, skipped, taken))
            else:
                yield shard, first + skipped, taken
            position, length, number = position + taken, length - taken, number + 1

    def _find_runs(self, number: int) -> tuple[Array, Array]:
        """Find the runs of neighbouring documents of the wanted domains in a segment.

        Returns:
            First token of each run, and the tokens of all runs to its end; int64.
        """
        shard, first, size = map(int, self._segments[number])
        wanted = self._selected[str(number)]
        starts = self._array(shard, "starts")
        low, high = np.searchsorted(starts, (first, first + wanted["tokens"]))
        mine = np.isin(self._array(shard, "domains")[low:high], wanted["domains"])
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mine, [False]])))
        begins, ends = starts[low + edges[::2]], starts[low + edges[1::2]]
        sizes = np.cumsum(ends - begins)
        if not len(sizes) or int(sizes[-1]) != size:
            raise DataError(
                f"shard {shard} holds other domains than the mixture was made for",
                where="mixture.json", mend="Run the mixture step again on these token shards.",
            )  # fmt: skip
        return np.asarray(begins), sizes


def _within(firsts: Array, ends: Array, skipped: int, length: int) -> Iterator[tuple[int, int]]:
    """Cut `length` tokens after `skipped` out of runs: (first token, tokens) for each part."""
    run = int(np.searchsorted(ends, skipped, side="right"))
    while length > 0:
        left = int(ends[run]) - skipped
        taken = min(length, left)
        size = int(ends[run]) - (int(ends[run - 1]) if run else 0)
        yield int(firsts[run]) + size - left, taken
        skipped, length, run = skipped + taken, length - taken, run + 1
