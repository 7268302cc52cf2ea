"""Compiled loops: shingles of UTF-8 text, MinHash, comparison of sets, union-find.

Texts come as one byte buffer and `offsets`, Arrow's own layout. All kernels sit in this one file:
numba's cache on disk only notices changes of the file that a function is defined in.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix

_U = np.uint64
_SEED = _U(0xCBF29CE484222325)
_PRIME = _U(0x100000001B3)
_GRAM = _U(0x9E3779B97F4A7C15)
_SECOND = _U(0xBF58476D1CE4E5B9)
_S8, _S31, _S32 = _U(8), _U(31), _U(32)
_ZERO, _ONE = _U(0), _U(1)
_SPACE, _WORD, _ALONE = 0, 1, 2
_RATED_BYTES = 4096
_BLOCK = 4096
_ASCII = np.array(
    [ord(chr(c).lower()) if chr(c).isalnum() or c == 95 else 0 for c in range(128)], np.uint8
)
"""Small letters, digits and `_` as they are, large letters as small ones; 0 for all else."""
_FOLDED = np.array(
    [32 if c == 32 or 9 <= c <= 13 else c | 32 if 65 <= c <= 90 else c for c in range(256)],
    np.uint8,
)
"""Bytes with large ASCII letters as small ones and all ASCII white space as a space."""


@njit(cache=True)
def kind(c: int) -> int:
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
def _words(buf: NDArray, start: int, end: int, out: NDArray) -> int:
    """Write the hash of every word of a text, ASCII letters as small ones; return their number."""
    n, i = 0, start
    h, inside = _SEED, False
    while i < end:
        b = buf[i]
        if b < 0x80:
            c, width = np.int64(_ASCII[b]), 1
            what = _WORD if c else _SPACE
        else:
            c, width = decode(buf, i)
            what = kind(c)
        i += width
        if what == _WORD:
            h = (h ^ _U(c)) * _PRIME
            inside = True
            continue
        if inside:
            out[n] = mix(h)
            n += 1
            h, inside = _SEED, False
        if what == _ALONE:
            out[n] = mix((_SEED ^ _U(c)) * _PRIME)
            n += 1
    if inside:
        out[n] = mix(h)
        n += 1
    return n


@njit(cache=True)
def _shingles(buf: NDArray, start: int, end: int, ngram: int, words: NDArray, out: NDArray) -> int:
    """Write the hash of every shingle of a text; a shorter text is one shingle by itself."""
    n = _words(buf, start, end, words)
    drop = _ONE
    for _ in range(ngram):
        drop *= _GRAM
    rolling = _ZERO
    for j in range(min(n, ngram)):
        rolling = rolling * _GRAM + words[j]
    if n == 0:
        return 0
    out[0] = mix(rolling)
    for j in range(ngram, n):
        rolling = rolling * _GRAM + words[j] - words[j - ngram] * drop
        out[j - ngram + 1] = mix(rolling)
    return max(1, n - ngram + 1)


@njit(cache=True)
def _lower(row: NDArray, values: NDArray, scale: NDArray, shift: NDArray) -> None:
    """Lower a signature to the minima over some more shingles.

    Four hashes at a time over a block that stays in the nearest cache: the inner loop keeps its
    minima in vector registers, twice as fast as a loop over the hashes of each shingle.
    """
    fours = scale.size // 4 * 4
    for p in range(0, fours, 4):
        s0, s1, s2, s3 = scale[p], scale[p + 1], scale[p + 2], scale[p + 3]
        t0, t1, t2, t3 = shift[p], shift[p + 1], shift[p + 2], shift[p + 3]
        m0, m1, m2, m3 = row[p], row[p + 1], row[p + 2], row[p + 3]
        for j in range(values.size):
            x = values[j]
            m0 = min(m0, np.uint32(s0 * x + t0))
            m1 = min(m1, np.uint32(s1 * x + t1))
            m2 = min(m2, np.uint32(s2 * x + t2))
            m3 = min(m3, np.uint32(s3 * x + t3))
        row[p], row[p + 1], row[p + 2], row[p + 3] = m0, m1, m2, m3
    for p in range(fours, scale.size):
        for j in range(values.size):
            row[p] = min(row[p], np.uint32(scale[p] * values[j] + shift[p]))


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
    words = np.empty(longest + 1, np.uint64)
    high = np.empty(longest + 1, np.uint32)
    result = np.full((n, scale.size), 0xFFFFFFFF, np.uint32)
    counts = np.zeros(n, np.int64)
    for d in range(n):
        m = _shingles(buf, offsets[d], offsets[d + 1], ngram, words, scratch)
        counts[d] = m
        for j in range(m):
            high[j] = np.uint32(scratch[j] >> _S32)
        for start in range(0, m, _BLOCK):
            _lower(result[d], high[start : min(m, start + _BLOCK)], scale, shift)
    return result, counts


@njit(cache=True)
def band_keys(table: NDArray, bands: int, rows: int, groupings: int) -> NDArray:
    """Hash each band of each signature to 64 bits; equal bands of different places differ.

    The first grouping takes runs of `rows` hashes, the second every `bands`-th hash, so that no two
    meet twice if there are at least as many bands as rows; later ones shift from row to row.
    """
    n = table.shape[0]
    keys = np.empty((n, bands * groupings), np.uint64)
    for d in range(n):
        for key in range(bands * groupings):
            grouping, band = key // bands, key % bands
            h = mix(_SEED + _U(key) * _PRIME)
            for r in range(rows):
                place = band * rows + r
                if grouping:
                    place = r * bands + (band + (grouping - 1) * r) % bands
                h = mix((h ^ _U(table[d, place])) * _GRAM)
            keys[d, key] = h
    return keys


@njit(cache=True)
def shingle_sets(buf: NDArray, offsets: NDArray, ngram: int) -> tuple[NDArray, NDArray]:
    """Return the sorted distinct shingles of each text, one after the other, and their offsets."""
    n = offsets.size - 1
    longest = 1
    for d in range(n):
        longest = max(longest, offsets[d + 1] - offsets[d])
    scratch = np.empty(longest + 1, np.uint64)
    words = np.empty(longest + 1, np.uint64)
    found = np.empty(max(1, offsets[n] - offsets[0]) + n, np.uint64)
    starts = np.zeros(n + 1, np.int64)
    total = 0
    for d in range(n):
        m = _shingles(buf, offsets[d], offsets[d + 1], ngram, words, scratch)
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


@njit(cache=True)
def _fold(buf: NDArray, start: int, end: int, out: NDArray) -> tuple[int, int]:
    """Write a text in small ASCII letters, each run of spaces inside it as one.

    No branch in the loop: a space after a space is written over.

    Returns:
        Bytes written, and bytes that are no space.
    """
    n, spaces, gap = 0, 0, True
    for i in range(start, end):
        c = _FOLDED[buf[i]]
        space = c == 32
        out[n] = c
        n += not (space and gap)
        spaces += space
        gap = space
    if n > 0 and gap:
        n -= 1
    return n, end - start - spaces


@njit(cache=True)
def digests(buf: NDArray, offsets: NDArray) -> NDArray:
    """Digest texts to 128 bits so that ASCII case and ASCII spaces make no difference.

    Eight bytes a turn into two chains of bijective mixing; two different texts agree with a
    probability of about 2^-128 (not against somebody who builds them to agree).

    Returns:
        uint64 of shape [texts, 2].
    """
    n = offsets.size - 1
    out = np.empty((n, 2), np.uint64)
    longest = 0
    for d in range(n):
        longest = max(longest, offsets[d + 1] - offsets[d])
    folded = np.empty(longest + 1, np.uint8)
    for d in range(n):
        size, total = _fold(buf, offsets[d], offsets[d + 1], folded)
        one, two, word = _SEED, _SECOND, _ZERO
        whole = size - size % 8
        for i in range(0, whole, 8):
            word = _ZERO
            for j in range(8):
                word = (word << _S8) | _U(folded[i + j])
            one, two = mix(one ^ word), mix((two + word) * _GRAM)
        word = _ZERO
        for i in range(whole, size):
            word = (word << _S8) | _U(folded[i])
        word = (word << _S8) | _U(size - whole + 1)
        out[d, 0] = mix(mix(one ^ word) ^ _U(total))
        out[d, 1] = mix(mix((two + word) * _GRAM) + _U(total))
    return out


@njit(cache=True)
def plainness(buf: NDArray, offsets: NDArray) -> NDArray:
    """Rate texts by cheap statistics of their first 4 kB, 0 to 100: the mean of two shares.

    Of all bytes but spaces, those of letters (prose, not tables, markup and numbers); of all
    lines, those that end a sentence (paragraphs, not lists and menus; as C4 asks of every line).
    """
    n = offsets.size - 1
    out = np.zeros(n, np.int64)
    for d in range(n):
        letters, others, lines, ended, last = 0, 0, 0, 0, 0
        end = int(min(offsets[d + 1], offsets[d] + _RATED_BYTES))
        for i in range(offsets[d], end + 1):
            c = int(buf[i]) if i < end else 10
            if c == 10 or c == 13:
                if last > 0:
                    lines += 1
                    if last in (33, 46, 63, 34, 0x82, 0x81, 0x9F):  # . ! ? " and 。 ！ ？
                        ended += 1
                last = 0
            elif c > 32:
                last = c
                if c >= 0x80 or _ASCII[c] > 57:
                    letters += 1
                else:
                    others += 1
        if lines > 0:
            out[d] = (50 * letters) // (letters + others) + (50 * ended) // lines
    return out
