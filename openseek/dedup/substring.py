"""Exact substrings that occur more than once, in a corpus of any size.

1. Every window of `min_length` units (bytes or words) has a seed, a sub-window of half the length
   chosen by its content alone (winnowing, Schleimer et al. 2003), so that equal windows have equal
   seeds. Windows in a row that share a seed are one place with two hashes: seed and block (all the
   text they span). One place stands for about `min_length / 4` windows.
2. Places of all shards meet by seed. A seed met once: its windows are unique. All blocks equal:
   all windows are repeated. Else only the first place of each block is compared, window by window.
3. Windows of those places meet by hash.

Only equality of content of the same seed is ever concluded from a hash, modulo 2^61 - 1 with a
random base: two different windows of n units agree with a probability of at most n / 2^61 (the
base is the only chance in it). The expected number of windows falsely found equal is that times
the pairs of different windows with the same seed: 1e-4 of a window for a trillion such pairs
of 200 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.config.substring import SubstringConfig
from openseek.dedup import spans as places_of
from openseek.dedup import windows
from openseek.dedup.minhash import Bytes, Offsets, pack

Places = NDArray[np.uint64]
Spans = NDArray[np.int64]
"""int64 of shape [spans, 2]: where each starts and ends."""

SNAPS = {"character": 0, "word": 1, "line": 2}
AGAIN = np.uint64(1 << 62)


@dataclass(frozen=True)
class Hashing:
    """The hash functions of a configuration."""

    table: NDArray[np.uint64]
    power: NDArray[np.uint64]

    @staticmethod
    def of(config: SubstringConfig) -> Hashing:
        """Draw them from the configured seed."""
        return _hashing(config.seed, config.min_length)


@cache
def _hashing(seed: int, length: int) -> Hashing:
    rng = np.random.Generator(np.random.PCG64(seed))
    table = rng.integers(1, windows.PRIME, 256, dtype=np.uint64)
    base = rng.integers(1 << 32, windows.PRIME, dtype=np.uint64)
    return Hashing(table, windows.powers(base, 2 * length))


@dataclass
class Fingerprints:
    """Fingerprints of a shard, collected batch by batch.

    Attributes:
        config: What is searched.
    """

    config: SubstringConfig

    def __post_init__(self) -> None:
        self._cache = windows.new_cache()
        self._rows = [np.empty((0, 3), np.uint64)]
        self._copies = [np.empty(0, np.uint64)]
        self._met = [np.empty(0, np.uint64)]
        self._units = [np.zeros(1, np.int64)]
        self._n_rows = self._n_units = 0

    def add(self, buf: Bytes, offsets: Offsets) -> None:
        """Take some more texts."""
        hashing, words = Hashing.of(self.config), self.config.unit == "words"
        rows, copies, met, units = windows.winnow(
            buf, offsets, self._n_units, self._n_rows, self.config.min_length, words,
            hashing.table, hashing.power, self._cache,
        )  # fmt: skip
        self._rows.append(rows)
        self._copies.append(copies)
        self._met.append(met)
        self._units.append(units)
        self._n_rows += len(rows)
        self._n_units += int(units.sum())

    def finish(self) -> tuple[NDArray[np.uint64], Places, Offsets]:
        """Return fingerprints (seed, block, place), places of repetitions, units' offsets."""
        rows = np.concatenate(self._rows)
        rows[np.concatenate(self._met).astype(np.int64), 2] |= AGAIN
        return rows, np.concatenate(self._copies), np.cumsum(np.concatenate(self._units))


@dataclass(frozen=True)
class Labelled:
    """Places by what they are, each as indices of the given ones, ascending.

    Attributes:
        first: The first of their content.
        repeat: Later copies.
        compare: Places whose windows are to be compared; marked in `places` if they occur twice.
        places: The places that were given, with those marks.
    """

    first: NDArray[np.int64]
    repeat: NDArray[np.int64]
    compare: NDArray[np.int64]
    places: Places


def label(rows: NDArray[np.uint64], *, exact: bool) -> Labelled:
    """Find what is repeated among fingerprints or windows.

    Args:
        rows: (seed, block or window hash, place), in the order of the corpus.
        exact: They are single windows: equal or not, there is nothing more to compare.
    """
    places = rows[:, 2].copy()
    main, other = (1, 0) if exact else (0, 1)
    some = places_of.recurring(rows[:, main].copy(), places)
    first, second, chosen = rows[some, main], rows[some, other], places[some]
    labels = places_of.label(first, second, chosen, np.argsort(first), exact)
    places[some] = chosen

    def of(kind: int) -> NDArray[np.int64]:
        return np.asarray(some[labels == kind], np.int64)

    return Labelled(of(places_of.FIRST), of(places_of.REPEAT), of(places_of.COMPARE), places)


def compared(
    buf: Bytes,
    offsets: Offsets,
    units: Offsets,
    seeds: NDArray[np.uint64],
    places: Places,
    config: SubstringConfig,
) -> NDArray[np.uint64]:
    """Hash the windows of places to compare: rows of seed, hash and place of one window."""
    hashing = Hashing.of(config)
    rows = windows.window_hashes(
        buf, offsets, units, seeds, places, config.min_length, config.unit == "words",
        hashing.table, hashing.power,
    )  # fmt: skip
    return np.asarray(rows, np.uint64)


def runs(places: Places) -> NDArray[np.int64]:
    """Return how many windows each place stands for."""
    return ((places >> np.uint64(places_of.AT_BITS)) & np.uint64(places_of.RUN_MAX)).astype(
        np.int64
    )


def starts(places: Places) -> NDArray[np.int64]:
    """Return the unit of the shard in which each place starts."""
    return (places & np.uint64((1 << places_of.AT_BITS) - 1)).astype(np.int64)


def in_order(places: Places) -> Places:
    """Sort places by where they start."""
    return places[np.argsort(starts(places), kind="stable")]


def duplicated_units(
    first: Places, repeat: Places, units: Offsets, config: SubstringConfig
) -> Spans:
    """Return the units to remove, as ascending spans within single texts.

    With `keep: first` a unit that lies in the first copy of any repeated window stays, so that
    every repeated passage is still whole somewhere.
    """
    if config.keep == "none":
        both = in_order(np.concatenate([first, repeat]))
        return np.asarray(places_of.cover(both, config.min_length, units), np.int64)
    cut = places_of.cover(in_order(repeat), config.min_length, units)
    kept = places_of.cover(in_order(first), config.min_length, units)
    return np.asarray(places_of.subtract(cut, kept), np.int64)


@dataclass(frozen=True)
class Cut:
    """What is removed from one text.

    Attributes:
        duplicated: Bytes in repeated passages.
        spans: Byte ranges to cut, after they were shrunk to whole characters, words or lines.
    """

    duplicated: int
    spans: Spans


def cut_text(raw: bytes, spans: Spans, config: SubstringConfig) -> Cut:
    """Turn spans of a text's units into the bytes to cut."""
    buf = np.frombuffer(raw, np.uint8)
    if config.unit == "words":
        edges = np.empty(len(raw) + 2, np.int64)
        windows.split_words(buf, 0, len(raw), edges, np.empty(len(raw) + 2, np.uint64))
        spans = edges[spans]
    snapped = places_of.snap(buf, 0, len(raw), spans, SNAPS[config.snap])
    return Cut(int((spans[:, 1] - spans[:, 0]).sum()), np.asarray(snapped, np.int64))


def without(raw: bytes, spans: Spans) -> bytes:
    """Return a text without spans of its bytes."""
    edges = [0, *spans.ravel().tolist(), len(raw)]
    return b"".join(raw[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


def find_substrings(texts: Sequence[str], config: SubstringConfig | None = None) -> list[Cut]:
    """Find the repeated passages of texts in memory.

    Args:
        texts: Texts, in the order in which the first copy stays.
        config: Unit, length and policy; none: the defaults.

    Returns:
        What is cut from each text.
    """
    config = config or SubstringConfig()
    buf, offsets = pack(texts)
    prints = Fingerprints(config)
    prints.add(buf, offsets)
    rows, copies, units = prints.finish()
    found = label(rows, exact=False)
    to_compare = found.places[found.compare]
    table = compared(buf, offsets, units, rows[found.compare, 0], to_compare, config)
    single = label(table, exact=True)
    first = np.concatenate([found.places[found.first], single.places[single.first]])
    repeat = np.concatenate([copies, found.places[found.repeat], single.places[single.repeat]])
    spans = duplicated_units(first, repeat, units, config)
    raws: list[Any] = [buf[a:b].tobytes() for a, b in pairwise(offsets)]
    return [cut_text(raw, s, config) for raw, s in zip(raws, by_text(spans, units), strict=True)]


def by_text(spans: Spans, units: Offsets) -> list[Spans]:
    """Divide ascending spans by the text they are in, counted from its start."""
    edges = np.searchsorted(spans[:, 0], units)
    return [spans[a:b] - units[i] for i, (a, b) in enumerate(pairwise(edges))]
