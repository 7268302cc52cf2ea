"""Compiled loops over places of windows: what they are, what they cover, where a cut may end.

A place packs where windows start into 64 bits: the offset of the first one in its shard (40 bits),
how many start in a row (22 bits), and whether their content is known to occur again (1 bit).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode
from openseek.dedup.kernels import kind

AT_BITS = 40
RUN_MAX = (1 << 22) - 1
NOTHING, FIRST, REPEAT, COMPARE = 0, 1, 2, 3
"""What a place is: unique, the first of its content, a later copy, to be compared by window."""

_U = np.uint64
_ZERO = _U(0)
_AT_BITS, _AT_MASK = _U(AT_BITS), _U((1 << AT_BITS) - 1)
_RUN_MASK = _U(RUN_MAX)
_AGAIN = _U(1 << 62)
_SNAP_BYTES = 64
_WORD = 1


@njit(cache=True)
def recurring(keys: NDArray, places: NDArray) -> NDArray:
    """Return indices of all keys that occur twice or are marked so, and of a few others."""
    size = 64
    while size < 8 * keys.size:
        size *= 2
    mask = _U(size - 1)
    seen = np.zeros(size, np.uint8)
    for key in keys:
        slot = np.int64(key & mask)
        seen[slot] = min(np.uint8(2), np.uint8(seen[slot] + 1))
    n = 0
    found = np.empty(keys.size, np.int64)
    for i in range(keys.size):
        if seen[np.int64(keys[i] & mask)] == 2 or places[i] & _AGAIN != _ZERO:
            found[n] = i
            n += 1
    return found[:n].copy()


@njit(cache=True)
def _sort_group(order: NDArray, start: int, end: int, second: NDArray) -> None:
    """Sort order[start:end] by `second`, then by index (Shell sort: it compiles in no time)."""
    gap = 1
    while 9 * gap < 4 * (end - start):
        gap = (9 * gap + 4) // 4
    while gap > 0:
        for i in range(start + gap, end):
            at, j = order[i], i
            while j - gap >= start:
                before = order[j - gap]
                if second[before] < second[at] or (second[before] == second[at] and before < at):
                    break
                order[j] = before
                j -= gap
            order[j] = at
        gap = gap * 4 // 9


@njit(cache=True)
def label(first: NDArray, second: NDArray, places: NDArray, order: NDArray, exact: bool) -> NDArray:
    """Label places by what else has their content, which is equal where both hashes are.

    Args:
        first: Hashes.
        second: Further hashes.
        places: Places in the order of the corpus; those to be compared and of content that occurs
            twice are marked.
        order: Their indices sorted by `first`; equal ones are put in order.
        exact: Equal content is all that counts. Else places that agree in `first` alone may still
            share windows, and the first one of each content is to be compared.

    Returns:
        A label for each place.
    """
    labels = np.zeros(first.size, np.uint8)
    i = 0
    while i < order.size:
        end = i + 1
        while end < order.size and first[order[end]] == first[order[i]]:
            end += 1
        if end > i + 1:
            _sort_group(order, i, end, second)
        mixed = second[order[i]] != second[order[end - 1]] and not exact
        at = i
        while at < end:
            head = order[at]
            again = places[head] & _AGAIN != _ZERO
            at += 1
            while at < end and second[order[at]] == second[head]:
                labels[order[at]] = REPEAT
                again = True
                at += 1
            if mixed:
                labels[head] = COMPARE
                if again:
                    places[head] |= _AGAIN
            else:
                labels[head] = FIRST if again else NOTHING
        i = end
    return labels


@njit(cache=True)
def join_runs(places: NDArray) -> NDArray:
    """Join ascending places of one shard where one continues the other."""
    out = np.empty(places.size, np.uint64)
    n = 0
    for place in places:
        at, run = place & _AT_MASK, (place >> _AT_BITS) & _RUN_MASK
        if n > 0:
            before, length = out[n - 1] & _AT_MASK, out[n - 1] >> _AT_BITS
            if before + length == at and length + run <= _RUN_MASK:
                out[n - 1] = before | ((length + run) << _AT_BITS)
                continue
        out[n] = at | (run << _AT_BITS)
        n += 1
    return out[:n].copy()


@njit(cache=True)
def cover(places: NDArray, length: int, unit_offsets: NDArray) -> NDArray:
    """Return the units that windows cover, as spans that overlap no other and no end of a text.

    Args:
        places: Ascending places.
        length: Units of a window.
        unit_offsets: Starts of the texts and the end of the last one.
    """
    out = np.empty((places.size, 2), np.int64)
    n, d = 0, 0
    for place in places:
        at = np.int64(place & _AT_MASK)
        end = at + np.int64((place >> _AT_BITS) & _RUN_MASK) - 1 + length
        fresh = n == 0
        while unit_offsets[d + 1] <= at:
            d += 1
            fresh = True
        if not fresh and at <= out[n - 1, 1]:
            out[n - 1, 1] = max(out[n - 1, 1], end)
        else:
            out[n, 0], out[n, 1] = at, end
            n += 1
    return out[:n].copy()


@njit(cache=True)
def subtract(spans: NDArray, kept: NDArray) -> NDArray:
    """Return what remains of ascending spans without others."""
    out = np.empty((spans.shape[0] + kept.shape[0], 2), np.int64)
    n, k = 0, 0
    for s in range(spans.shape[0]):
        at, end = spans[s, 0], spans[s, 1]
        while k < kept.shape[0] and kept[k, 1] <= at:
            k += 1
        j = k
        while at < end:
            if j >= kept.shape[0] or kept[j, 0] >= end:
                out[n, 0], out[n, 1] = at, end
                n += 1
                break
            if kept[j, 0] > at:
                out[n, 0], out[n, 1] = at, kept[j, 0]
                n += 1
            at = max(at, kept[j, 1])
            j += 1
    return out[:n].copy()


@njit(cache=True)
def _after_word(buf: NDArray, lo: int, i: int) -> bool:
    j = i - 1
    while j > lo and buf[j] & 0xC0 == 0x80:
        j -= 1
    return i > lo and kind(decode(buf, j)[0]) == _WORD


@njit(cache=True)
def snap(buf: NDArray, lo: int, hi: int, spans: NDArray, mode: int) -> NDArray:
    """Shrink spans of a text so that they end between characters (0), words (1) or lines (2).

    A word of more than 64 bytes is cut where it is.
    """
    out = np.empty(spans.shape, np.int64)
    n = 0
    for s in range(spans.shape[0]):
        a, b = spans[s, 0], spans[s, 1]
        while a < b and buf[a] & 0xC0 == 0x80:
            a += 1
        while b > a and b < hi and buf[b] & 0xC0 == 0x80:
            b -= 1
        if mode == 1:
            i, j = a, b
            while i < b and i - a < _SNAP_BYTES and _after_word(buf, lo, i):
                i += decode(buf, i)[1]
            while j > a and b - j < _SNAP_BYTES and j < hi:
                if not _after_word(buf, lo, j) or kind(decode(buf, j)[0]) != _WORD:
                    break
                j -= 1
                while j > a and buf[j] & 0xC0 == 0x80:
                    j -= 1
            a = i if i < b and i - a < _SNAP_BYTES else a
            b = j if j > a and b - j < _SNAP_BYTES else b
        elif mode == 2:
            while a < b and a > lo and buf[a - 1] != 10:
                a += 1
            while b > a and b < hi and buf[b - 1] != 10:
                b -= 1
        if a < b:
            out[n, 0], out[n, 1] = a, b
            n += 1
    return out[:n].copy()
