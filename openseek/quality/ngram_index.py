"""The table of n-grams that texts are compared with, and which items own each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openseek.quality.heuristic import hash_table, pack

_LEAD_BITS_PER_KEY = 32  # of the filter before the table: 3 % of other windows get past it


@dataclass
class NgramIndex:
    """A hashed n-gram -> owners table over token windows of several lengths.

    Attributes:
        names: (task, id) of each owner.
        sizes: Distinct n-grams of each owner.
        too_short: Owners that have none.
        lengths: Window lengths that occur, in tokens, ascending.
        leads: Bit set of the hashed beginnings (as long as the shortest window) of all n-grams:
            most windows of a text are told apart by it alone.
        table: Keys, see `kernels.build_table`.
        slots: Index of each slot's key.
        bounds: Where the owners of each key begin in `owners`.
        owners: Owners of all keys.
    """

    names: list[tuple[str, str]] = field(default_factory=list)
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    too_short: int = 0
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    leads: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(1, np.uint64))
    table: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(16, np.uint64))
    slots: NDArray[np.int32] = field(default_factory=lambda: np.zeros(16, np.int32))
    bounds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    owners: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def owners_of(self, key: int) -> list[int]:
        """List the owners of an n-gram."""
        return self.owners[self.bounds[key] : self.bounds[key + 1]].tolist()

    def hits(self, buf: NDArray, offsets: NDArray) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield (text, rows of (text, key, byte start, byte end)) for every text with a hit."""
        from openseek.quality.kernels import scan

        if not len(self.lengths):
            return
        room = 4096
        while True:
            found = np.zeros((room, 4), np.int64)
            count = scan(buf, offsets, self.lengths, self.leads, self.table, self.slots, found)
            if count <= room:
                break
            room = count
        found = found[:count]
        rows, starts = np.unique(found[:, 0], return_index=True)  # texts come in order
        if count:
            yield from zip(rows.tolist(), np.split(found, starts[1:]), strict=True)


def build_index(
    parts: Sequence[tuple[int, str]],
    names: list[tuple[str, str]],
    length_of: Callable[[int, int], int],
    most_owners: int,
) -> NgramIndex:
    """Index the n-grams of texts.

    Args:
        parts: (owner, text); an owner may have several.
        names: Name of each owner.
        length_of: (tokens, Chinese tokens) of a text -> its window length; 0: leave it out.
        most_owners: N-grams of more owners than this are left out.
    """
    from openseek.quality.kernels import lead_set, tokenize, window_hashes

    buf, offsets = pack([text for _, text in parts])
    windows: list[tuple[int, NDArray[np.uint64], int]] = []
    for at, (owner, _) in enumerate(parts):
        hashes, _, _, n_cjk = tokenize(buf, offsets[at], offsets[at + 1])
        if length := length_of(len(hashes), n_cjk):
            windows.append((owner, hashes, length))
    sizes = np.zeros(len(names), np.int64)
    if not windows:
        return NgramIndex(names, sizes, len(names))
    lengths = np.array(sorted({length for _, _, length in windows}), np.int64)
    keys = [window_hashes(hashes, length) for _, hashes, length in windows]
    leads = [
        window_hashes(hashes, lengths[0])[: len(key)]
        for (_, hashes, _), key in zip(windows, keys, strict=True)
    ]
    of = np.repeat([owner for owner, _, _ in windows], [len(key) for key in keys])
    all_keys, all_owners = _distinct(np.concatenate(keys), of.astype(np.int32))
    unique, counts = np.unique(all_keys, return_counts=True)
    rare = counts <= most_owners
    kept = np.repeat(rare, counts)
    np.add.at(sizes, all_owners[kept], 1)
    table, slots = hash_table(unique[rare])
    bounds = np.zeros(int(rare.sum()) + 1, np.int64)
    np.cumsum(counts[rare], out=bounds[1:])
    words = 1 << max(4, (len(of) * _LEAD_BITS_PER_KEY // 64).bit_length())
    return NgramIndex(
        names, sizes, int((sizes <= 0).sum()), lengths,
        lead_set(np.concatenate(leads), words), table, slots, bounds, all_owners[kept],
    )  # fmt: skip


def _distinct(
    keys: NDArray[np.uint64], owners: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Sort (key, owner) pairs and keep each once."""
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    fresh = np.ones(len(keys), np.bool_)
    fresh[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    return keys[fresh], owners[fresh]
