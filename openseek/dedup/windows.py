"""Compiled loops of exact substring search: hashes of windows, and winnowing.

A text is a row of units: its bytes, or its words. `H[i]` is the hash of the first i units, so that
the hash of units [i, j) is `H[j] - H[i] * base^(j - i)` modulo 2^61 - 1 (Karp and Rabin 1987).
Places are packed as `spans` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.dedup.kernels import kind
from openseek.dedup.spans import AT_BITS, RUN_MAX

PRIME = (1 << 61) - 1
_U = np.uint64
_P = _U(PRIME)
_ZERO, _ONE = _U(0), _U(1)
_AT_BITS, _AT_MASK = _U(AT_BITS), _U((1 << AT_BITS) - 1)
_RUN_MASK = _U(RUN_MAX)
_AGAIN = _U(1 << 62)
_LENGTH_SALT, _SEED_SALT = _U(0x9E3779B97F4A7C15), _U(0xC2B2AE3D27D4EB4F)
_WORD_SEED, _WORD_PRIME = _U(0xCBF29CE484222325), _U(0x100000001B3)
_CACHE = 1 << 15
_WORD = 1


@intrinsic
def _mulmod(_context: Any, a: Any, b: Any) -> Any:
    """Multiply modulo 2^61 - 1; both factors are below it."""

    def codegen(_: Any, builder: Any, __: Any, args: Any) -> Any:
        wide, word = cgutils.ir.IntType(128), cgutils.ir.IntType(64)
        prime = word(PRIME)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        low = builder.and_(builder.trunc(product, word), prime)
        high = builder.trunc(builder.lshr(product, wide(61)), word)
        total = builder.add(low, high)
        over = builder.icmp_unsigned(">=", total, prime)
        return builder.select(over, builder.sub(total, prime), total)

    return types.uint64(types.uint64, types.uint64), codegen


@njit(cache=True)
def powers(base: Any, n: int) -> NDArray:
    """Return base^0 to base^n modulo 2^61 - 1."""
    out = np.ones(n + 1, np.uint64)
    for i in range(1, n + 1):
        out[i] = _mulmod(out[i - 1], base)
    return out


@njit(cache=True)
def _hash(h: NDArray, i: int, j: int, power: Any) -> Any:
    """Hash units [i, j); `power` is base^(j - i)."""
    v = h[j] + _P - _mulmod(h[i], power)
    return v - _P if v >= _P else v


@njit(cache=True)
def _prefix_bytes(buf: NDArray, lo: int, hi: int, table: NDArray, base: Any, h: NDArray) -> int:
    # Two bytes a turn: the second one's hash does not wait for the first one's.
    square = _mulmod(base, base)
    v = _ZERO
    h[0] = v
    i, n = lo, hi - lo
    while i + 1 < hi:
        one = table[buf[i]]
        half = _mulmod(v, base) + one
        pair = _mulmod(one, base) + table[buf[i + 1]]
        pair = pair - _P if pair >= _P else pair
        v = _mulmod(v, square) + pair
        v = v - _P if v >= _P else v
        h[i - lo + 1] = half - _P if half >= _P else half
        h[i - lo + 2] = v
        i += 2
    if i < hi:
        v = _mulmod(v, base) + table[buf[i]]
        h[n] = v - _P if v >= _P else v
    return n


@njit(cache=True)
def _white(c: int) -> bool:
    if c < 0x80:
        return c <= 32 or c == 127
    return c in (0x85, 0xA0, 0x3000, 0xFEFF) or 0x2000 <= c <= 0x200F or 0x2028 <= c <= 0x202F


@njit(cache=True)
def split_words(buf: NDArray, lo: int, hi: int, starts: NDArray, symbols: NDArray) -> int:
    """Split a text into words; return their number.

    A run of letters and digits is a word, every other character but white space is one by itself.

    Args:
        buf: UTF-8, uint8.
        lo: Start of the text.
        hi: End of the text.
        starts: Filled with where each word starts, from `lo`, and then the text's length.
        symbols: Filled with the words' hashes, below 2^61 - 1.
    """
    n, i = 0, lo
    while i < hi:
        c, width = decode(buf, i)
        if _white(c):
            i += width
            continue
        starts[n] = i - lo
        h = (_WORD_SEED ^ _U(c)) * _WORD_PRIME
        run = kind(c) == _WORD
        i += width
        while run and i < hi:
            c, width = decode(buf, i)
            if kind(c) != _WORD:
                break
            h = (h ^ _U(c)) * _WORD_PRIME
            i += width
        v = mix(h) & _P
        symbols[n] = _ZERO if v == _P else v
        n += 1
    starts[n] = hi - lo
    return n


@njit(cache=True)
def prefix_hashes(
    buf: NDArray, lo: int, hi: int, words: bool, table: NDArray, base: Any,
    h: NDArray, starts: NDArray,
) -> int:  # fmt: skip
    """Fill `h` with the hashes of a text's beginnings; return the number of its units."""
    if not words:
        return _prefix_bytes(buf, lo, hi, table, base, h)
    n = split_words(buf, lo, hi, starts, h[1:])
    v = _ZERO
    h[0] = v
    for i in range(n):
        v = _mulmod(v, base) + h[i + 1]
        if v >= _P:
            v -= _P
        h[i + 1] = v
    return n


@njit(cache=True)
def _grown(rows: NDArray, n: int) -> NDArray:
    if n < rows.shape[0]:
        return rows
    more = np.empty((2 * rows.shape[0], rows.shape[1]), np.uint64)
    more[:n] = rows[:n]
    return more


@njit(cache=True)
def _last_smallest(v: NDArray, start: int, end: int) -> int:
    at, best = int(end - 1), v[end - 1]
    for j in range(end - 2, start - 1, -1):
        if v[j] < best:
            at, best = j, v[j]
    return at


@njit(cache=True)
def new_cache() -> NDArray:
    """Make an empty memory of recent fingerprints, for `winnow`."""
    return np.zeros((_CACHE, 3), np.uint64)


@njit(cache=True)
def winnow(
    buf: NDArray, offsets: NDArray, first_unit: int, first_row: int, length: int, words: bool,
    table: NDArray, power: NDArray, cache: NDArray,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:  # fmt: skip
    """Fingerprint every window of `length` units of some texts.

    The seed of a window is its smallest sub-window of length // 2 units (the rightmost of equal
    ones), a function of the window's content alone. Windows in a row with the same seed are one
    place; its block is the hash of all that they span. A fingerprint met before in this shard, as
    far as the cache remembers, is a repetition and needs no more than its place.

    Args:
        buf: UTF-8 of all texts.
        offsets: Starts of the texts and the end of the last one.
        first_unit: Units of the shard before these texts.
        first_row: Fingerprints of the shard before these.
        length: Units of a window, at least 2.
        words: Units are words, not bytes.
        table: Hash of each byte.
        power: base^0 to base^(2 * length).
        cache: Recent fingerprints: seed, block, 1 + their row in the shard.

    Returns:
        Fingerprints (seed, block, place) in order, places of repetitions, rows of fingerprints
        that were met again, and units of each text.
    """
    half = length // 2
    span = length - half + 1
    longest = 1
    for d in range(offsets.size - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    h = np.empty(longest + 2, np.uint64)
    v = np.empty(longest + 2, np.uint64)
    starts = np.empty(longest + 2 if words else 1, np.int64)
    units = np.zeros(offsets.size - 1, np.int64)
    out = np.empty((1024, 3), np.uint64)
    copies = np.empty((64, 1), np.uint64)
    met = np.empty((64, 1), np.uint64)
    n_out, n_copies = 0, 0
    base_at = first_unit
    for d in range(offsets.size - 1):
        n = prefix_hashes(buf, offsets[d], offsets[d + 1], words, table, power[1], h, starts)
        units[d] = n
        count = n - half + 1 if n >= length else 0
        for i in range(count):
            v[i] = _hash(h, i, i + half, power[half])
        begin, seed = 0, _last_smallest(v, 0, span) if count > 0 else 0
        while begin + span <= count:
            # Windows share the seed until it leaves, or something as small comes in.
            end, best = begin + span, v[seed]
            leaves = min(seed + span, count)
            while end < leaves and v[end] > best:
                end += 1
            run = end - span + 1 - begin
            key = mix(best + _ONE)
            whole = _hash(h, begin, begin + run - 1 + length, power[run - 1 + length])
            salt = _U(run) * _LENGTH_SALT + _U(seed - begin) * _SEED_SALT
            block = mix(whole ^ mix(salt))
            place = _U(base_at + begin) | (_U(run) << _AT_BITS)
            row = cache[np.int64(block & _U(_CACHE - 1))]
            if row[0] == key and row[1] == block and row[2] != _ZERO:
                copies = _grown(copies, n_copies)
                met = _grown(met, n_copies)
                copies[n_copies, 0], met[n_copies, 0] = place, row[2] - _ONE
                n_copies += 1
            else:
                out = _grown(out, n_out)
                out[n_out, 0], out[n_out, 1], out[n_out, 2] = key, block, place
                n_out += 1
                row[0], row[1], row[2] = key, block, _U(first_row + n_out)
            begin += run
            seed = end if end < leaves else _last_smallest(v, begin, begin + span)
        base_at += n
    return out[:n_out].copy(), copies[:n_copies, 0].copy(), met[:n_copies, 0].copy(), units


@njit(cache=True)
def window_hashes(
    buf: NDArray, offsets: NDArray, unit_offsets: NDArray, seeds: NDArray, places: NDArray,
    length: int, words: bool, table: NDArray, power: NDArray,
) -> NDArray:  # fmt: skip
    """Hash each window of the given places.

    Args:
        buf: UTF-8 of all texts.
        offsets: Starts of the texts and the end of the last one, in bytes.
        unit_offsets: The same in units of the shard.
        seeds: Seed of each place.
        places: Ascending places within these texts.
        length: Units of a window.
        words: Units are words, not bytes.
        table: Hash of each byte.
        power: base^0 to base^(2 * length).

    Returns:
        Seed, hash and place of each window, the places with a run of one.
    """
    total, longest = 0, 2 * length
    for place in places:
        total += int((place >> _AT_BITS) & _RUN_MASK)
    for d in range(offsets.size - 1 if words else 0):
        longest = max(longest, int(offsets[d + 1] - offsets[d]))
    h = np.empty(longest + 2, np.uint64)
    starts = np.empty(longest + 2 if words else 1, np.int64)
    rows = np.empty((total, 3), np.uint64)
    n, d, hashed = 0, 0, -1
    for k in range(places.size):
        at, run = np.int64(places[k] & _AT_MASK), np.int64((places[k] >> _AT_BITS) & _RUN_MASK)
        while unit_offsets[d + 1] <= at:
            d += 1
        first = at - unit_offsets[d]
        if not words:
            lo = offsets[d] + first
            _prefix_bytes(buf, lo, lo + run - 1 + length, table, power[1], h)
            first = 0
        elif d != hashed:
            prefix_hashes(buf, offsets[d], offsets[d + 1], words, table, power[1], h, starts)
            hashed = d
        for i in range(run):
            rows[n, 0] = seeds[k]
            rows[n, 1] = _hash(h, first + i, first + i + length, power[length])
            rows[n, 2] = _U(at + i) | (_ONE << _AT_BITS) | (places[k] & _AGAIN)
            n += 1
    return rows
