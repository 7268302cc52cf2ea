"""Compiled loops: shingles of UTF-8 text, MinHash, comparison of sets, union-find.

Texts come as one byte buffer and `offsets`, Arrow's own layout. All kernels sit in this one file:
numba's cache on disk only notices changes of the file that a function is defined in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_U = np.uint64
_SEED = _U(0xCBF29CE484222325)
_PRIME = _U(0x100000001B3)
_GRAM = _U(0x9E3779B97F4A7C15)
_MIX1 = _U(0xBF58476D1CE4E5B9)
_MIX2 = _U(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = _U(27), _U(30), _U(31), _U(32)
_ZERO, _ONE = _U(0), _U(1)
_SPACE, _WORD, _ALONE = 0, 1, 2


@njit(cache=True)
def _mix(h: Any) -> Any:
    """Finish a 64-bit hash (splitmix64)."""
    h = (h ^ (h >> _S30)) * _MIX1
    h = (h ^ (h >> _S27)) * _MIX2
    return h ^ (h >> _S31)


@njit(cache=True)
def _decode(buf: NDArray, i: int) -> Any:
    """Read one code point of valid UTF-8; return it and its width in bytes."""
    b = np.int64(buf[i])
    if b < 0x80:
        return b, 1
    if b < 0xE0:
        return ((b & 31) << 6) | (np.int64(buf[i + 1]) & 63), 2
    if b < 0xF0:
        tail = ((np.int64(buf[i + 1]) & 63) << 6) | (np.int64(buf[i + 2]) & 63)
        return ((b & 15) << 12) | tail, 3
    tail = ((np.int64(buf[i + 2]) & 63) << 6) | (np.int64(buf[i + 3]) & 63)
    return ((b & 7) << 18) | ((np.int64(buf[i + 1]) & 63) << 12) | tail, 4


@njit(cache=True)
def _kind(c: int) -> int:
    """Tell what separates words, what makes them up, and what is a word by itself."""
    if c < 0x80:
        low = c | 32
        return _WORD if 97 <= low <= 122 or 48 <= c <= 57 or c == 95 else _SPACE
    if c < 0x2000:
        return _SPACE if c < 0xC0 or c in (0xD7, 0xF7) else _WORD
    if 0x4E00 <= c <= 0x9FFF or 0x3400 <= c <= 0x4DBF or 0x3040 <= c <= 0x30FF:
        return _ALONE
    if c <= 0x206F or 0x3000 <= c <= 0x303F or 0xFF00 <= c <= 0xFF0F or 0xFF1A <= c <= 0xFF20:
        return _SPACE
    if 0xF900 <= c <= 0xFAFF or 0x1F000 <= c <= 0x3FFFF:  # emoji and rare Han
        return _ALONE
    return _WORD


@njit(cache=True)
def _shingles(buf: NDArray, start: int, end: int, ngram: int, out: NDArray) -> Any:
    """Write the hash of every shingle of a text; a shorter text is one shingle by itself."""
    ring = np.zeros(ngram, np.uint64)
    drop = _ONE
    for _ in range(ngram):
        drop *= _GRAM
    words, n = 0, 0
    rolling, h, inside = _ZERO, _SEED, False
    i = start
    while i <= end:
        if i < end:
            c, width = _decode(buf, i)
            kind = _kind(c)
        else:
            c, width, kind = 32, 1, _SPACE
        if kind == _WORD:
            if 65 <= c <= 90:
                c |= 32
            h = (h ^ _U(c)) * _PRIME
            inside = True
        else:
            # Up to two words end here: the run of letters, and a character that is one itself.
            for turn in range(2):
                if turn == 0 and inside:
                    word = _mix(h)
                elif turn == 1 and kind == _ALONE:
                    word = _mix((_SEED ^ _U(c)) * _PRIME)
                else:
                    continue
                at = words % ngram
                rolling = rolling * _GRAM + word - ring[at] * drop
                ring[at] = word
                words += 1
                if words >= ngram:
                    out[n] = _mix(rolling)
                    n += 1
            h, inside = _SEED, False
        i += width
    if 0 < words < ngram:
        out[0], n = _mix(rolling), 1
    return n


@njit(cache=True)
def signatures(
    buf: NDArray, offsets: NDArray, ngram: int, scale: NDArray, shift: NDArray
) -> tuple[NDArray, NDArray]:
    """Compute MinHash signatures: for hash p the minimum of `scale[p] * x + shift[p]` mod 2^32.

    Args:
        buf: UTF-8 of all texts, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        ngram: Words in a shingle.
        scale: Odd multipliers, uint32.
        shift: Offsets, uint32.

    Returns:
        uint32 of shape [texts, hashes], and the number of shingles of each text; the signature of
        a text without any is all ones.
    """
    n = offsets.size - 1
    longest = 1
    for d in range(n):
        longest = max(longest, offsets[d + 1] - offsets[d])
    scratch = np.empty(longest + 1, np.uint64)
    result = np.full((n, scale.size), 0xFFFFFFFF, np.uint32)
    counts = np.zeros(n, np.int64)
    for d in range(n):
        m = _shingles(buf, offsets[d], offsets[d + 1], ngram, scratch)
        counts[d] = m
        row = result[d]
        for j in range(m):
            x = np.uint32(scratch[j] >> _S32)
            for p in range(scale.size):
                v = np.uint32(scale[p] * x + shift[p])
                row[p] = min(row[p], v)
    return result, counts


@njit(cache=True)
def band_keys(table: NDArray, bands: int, rows: int) -> NDArray:
    """Hash each band of each signature to 64 bits; equal bands of different places differ."""
    n = table.shape[0]
    keys = np.empty((n, bands), np.uint64)
    for d in range(n):
        for band in range(bands):
            h = _mix(_SEED + _U(band) * _PRIME)
            for r in range(rows):
                h = _mix((h ^ _U(table[d, band * rows + r])) * _GRAM)
            keys[d, band] = h
    return keys


@njit(cache=True)
def shingle_sets(buf: NDArray, offsets: NDArray, ngram: int) -> tuple[NDArray, NDArray]:
    """Return the sorted distinct shingles of each text, one after the other, and their offsets."""
    n = offsets.size - 1
    longest = 1
    for d in range(n):
        longest = max(longest, offsets[d + 1] - offsets[d])
    scratch = np.empty(longest + 1, np.uint64)
    found = np.empty(max(1, offsets[n] - offsets[0]) + n, np.uint64)
    starts = np.zeros(n + 1, np.int64)
    total = 0
    for d in range(n):
        m = _shingles(buf, offsets[d], offsets[d + 1], ngram, scratch)
        values = np.sort(scratch[:m])
        for j in range(m):
            if j == 0 or values[j] != values[j - 1]:
                found[total] = values[j]
                total += 1
        starts[d + 1] = total
    return found[:total].copy(), starts


@njit(cache=True)
def jaccard(left: NDArray, right: NDArray) -> float:
    """Compute |A and B| / |A or B| of two sorted arrays of distinct values; 0 of two empty ones."""
    i, j, both = 0, 0, 0
    while i < left.size and j < right.size:
        if left[i] == right[j]:
            both += 1
            i += 1
            j += 1
        elif left[i] < right[j]:
            i += 1
        else:
            j += 1
    union = left.size + right.size - both
    return both / union if union > 0 else 0.0


@njit(cache=True)
def union_find(n: int, left: NDArray, right: NDArray) -> NDArray:
    """Return for each of `n` nodes the smallest node that edges connect it with."""
    parent = np.arange(n)
    for e in range(left.size):
        a, b = left[e], right[e]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for v in range(n):  # a parent is never larger, so one pass upwards settles all
        parent[v] = parent[parent[v]]
    return parent
