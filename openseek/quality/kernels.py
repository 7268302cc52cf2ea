"""The compiled loops over UTF-8 text; nothing here knows what a document is.

All of them read Arrow's layout: one byte buffer and `offsets` (text i is `buf[offsets[i]:
offsets[i+1]]`), so that a column is read without a copy. They live in one file because numba's
cache on disk notices changes of this file only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

OTHER, SPACE, LETTER, DIGIT, PUNCT, CJK = 0, 1, 2, 3, 4, 5

FEATURES = (
    "chars", "spaces", "letters", "digits", "puncts", "cjk", "others", "upper",
    "words", "word_chars", "function_words", "connectives", "probed_words", "distinct_words",
    "sentences", "lines", "duplicate_lines", "short_lines",
)  # fmt: skip
"""Columns of `text_features`, in order. CJK characters count as words of one character."""

_U = np.uint64
_FNV = _U(0xCBF29CE484222325)
_PRIME = _U(0x100000001B3)
_MIX1 = _U(0xBF58476D1CE4E5B9)
_MIX2 = _U(0x94D049BB133111EB)
_BASE = _U(0x9E3779B97F4A7C15)
_S30, _S27, _S31, _S1, _S0 = _U(30), _U(27), _U(31), _U(1), _U(0)
_PROBE_WORDS = 512  # vocabulary is measured on a window of this many words, whatever the length
_UNIFORM = 2.0**-17  # probability of an unseen character: one of 131,072 code points
_PRIOR = 4.0  # pseudo-counts of the shorter context (Dirichlet smoothing); flat between 2 and 10


@njit(cache=True)
def _mix(h: Any) -> Any:
    """Finish a 64-bit hash (splitmix64)."""
    h = (h ^ (h >> _S30)) * _MIX1
    h = (h ^ (h >> _S27)) * _MIX2
    return h ^ (h >> _S31)


@njit(cache=True)
def _decode(buf: NDArray, i: int) -> tuple[Any, int]:
    """Read one code point of valid UTF-8; return it and where the next one starts."""
    b = np.int64(buf[i])
    if b < 0x80:
        return b, i + 1
    if b < 0xE0:
        return ((b & 31) << 6) | (np.int64(buf[i + 1]) & 63), i + 2
    if b < 0xF0:
        c = ((b & 15) << 12) | ((np.int64(buf[i + 1]) & 63) << 6) | (np.int64(buf[i + 2]) & 63)
        return c, i + 3
    c = ((b & 7) << 18) | ((np.int64(buf[i + 1]) & 63) << 12)
    return c | ((np.int64(buf[i + 2]) & 63) << 6) | (np.int64(buf[i + 3]) & 63), i + 4


@njit(cache=True)
def _kind(c: int) -> int:
    """Classify a code point. Kana counts as CJK: it is written without spaces too."""
    if c < 0x80:
        if (97 <= c <= 122) or (65 <= c <= 90):
            return LETTER
        if c == 32 or 9 <= c <= 13:
            return SPACE
        if 48 <= c <= 57:
            return DIGIT
        return PUNCT if c > 32 and c != 127 else OTHER
    if c < 0xC0:
        return SPACE if c == 0xA0 else (LETTER if c in (0xAA, 0xB5, 0xBA) else PUNCT)
    if 0x4E00 <= c <= 0x9FFF or 0x3400 <= c <= 0x4DBF or 0x3040 <= c <= 0x30FF:
        return CJK
    if 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF:
        return CJK
    if c == 0x3000 or 0x2000 <= c <= 0x200A or c in (0x2028, 0x2029):
        return SPACE
    if 0x2010 <= c <= 0x206F or 0x3001 <= c <= 0x303F or 0xFF00 <= c <= 0xFF65:
        return PUNCT
    if 0x2070 <= c <= 0x2BFF or 0xE000 <= c <= 0xF8FF or c == 0xFFFD or c >= 0x1F000:
        return OTHER
    return LETTER


@njit(cache=True)
def _fold(c: int) -> int:
    """Lower-case Latin, Greek and Cyrillic, and narrow full-width forms."""
    if 0xFF01 <= c <= 0xFF5E:
        c -= 0xFEE0
    if 65 <= c <= 90 or (0xC0 <= c <= 0xDE and c != 0xD7) or 0x391 <= c <= 0x3A9:
        return c + 32
    if 0x410 <= c <= 0x42F:
        return c + 32
    return c + 80 if 0x400 <= c <= 0x40F else c


@njit(cache=True)
def _tokens(
    buf: NDArray, a: int, b: int, hashes: NDArray, starts: NDArray, ends: NDArray
) -> tuple[int, int]:
    """Split one text into folded words and single CJK characters; count both."""
    n = cjk = 0
    h = _FNV
    inside = False
    i = a
    while i < b:
        raw, j = _decode(buf, i)
        c = _fold(raw)
        k = _kind(c)
        if k in (LETTER, DIGIT):
            if not inside:
                inside = True
                starts[n] = i
                h = _FNV
            h = (h ^ _U(c)) * _PRIME
            ends[n] = j
        else:
            if inside:
                hashes[n] = _mix(h)
                n += 1
                inside = False
            if k == CJK:
                starts[n], ends[n] = i, j
                hashes[n] = _mix((_FNV ^ _U(c)) * _PRIME)
                n += 1
                cjk += 1
        i = j
    if inside:
        hashes[n] = _mix(h)
        n += 1
    return n, cjk


@njit(cache=True)
def tokenize(buf: NDArray, a: int, b: int) -> tuple[NDArray, NDArray, NDArray, int]:
    """Return token hashes, byte starts and ends of one text, and how many tokens are CJK."""
    room = b - a + 1
    hashes = np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    n, cjk = _tokens(buf, a, b, hashes, starts, ends)
    return hashes[:n].copy(), starts[:n].copy(), ends[:n].copy(), cjk


@njit(cache=True)
def window_hashes(hashes: NDArray, length: int) -> NDArray:
    """Hash every window of `length` tokens (polynomial over the token hashes, then mixed)."""
    n = len(hashes) - length + 1
    if n <= 0:
        return np.empty(0, np.uint64)
    prefix, power = _prefix(hashes, len(hashes), length)
    out = np.empty(n, np.uint64)
    for i in range(n):
        out[i] = _window(prefix, i, length, power)
    return out


@njit(cache=True)
def _prefix(hashes: NDArray, n: int, length: int) -> tuple[NDArray, Any]:
    prefix = np.empty(n + 1, np.uint64)
    prefix[0] = _S0
    for i in range(n):
        prefix[i + 1] = prefix[i] * _BASE + hashes[i]
    power = _U(1)
    for _ in range(length):
        power = power * _BASE
    return prefix, power


@njit(cache=True)
def _window(prefix: NDArray, i: int, length: int, power: int) -> int:
    return _mix((prefix[i + length] - prefix[i] * power) ^ (_U(length) * _MIX2)) | _S1


@njit(cache=True)
def build_table(keys: NDArray, table: NDArray, slots: NDArray) -> None:
    """Fill an open-addressing table (power of two, zero = free) with unique odd keys."""
    mask = _U(len(table) - 1)
    for i in range(len(keys)):
        s = (keys[i] >> _S1) & mask
        while table[s] != _S0:
            s = (s + _S1) & mask
        table[s] = keys[i]
        slots[s] = i


@njit(cache=True)
def scan(
    buf: NDArray, offsets: NDArray, lengths: NDArray, table: NDArray, slots: NDArray, hits: NDArray
) -> int:
    """Look up every window of the given token lengths in a table.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries, one more than texts.
        lengths: Window lengths in tokens.
        table: Keys of `build_table`.
        slots: Their indices.
        hits: Room for rows (text, key index, byte start, byte end); rows beyond it are only
            counted, so that the caller can call again with more room.

    Returns:
        How many hits there are.
    """
    n_texts = len(offsets) - 1
    room = 0
    for d in range(n_texts):
        room = max(room, offsets[d + 1] - offsets[d])
    hashes = np.empty(room + 1, np.uint64)
    starts, ends = np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)
    mask = _U(len(table) - 1)
    found = 0
    for d in range(n_texts):
        n, _ = _tokens(buf, offsets[d], offsets[d + 1], hashes, starts, ends)
        for length in lengths:
            if n < length:
                continue
            prefix, power = _prefix(hashes, n, length)
            for i in range(n - length + 1):
                key = _window(prefix, i, length, power)
                s = (key >> _S1) & mask
                while table[s] != _S0 and table[s] != key:
                    s = (s + _S1) & mask
                if table[s] == key:
                    if found < len(hits):
                        hits[found, 0], hits[found, 1] = d, slots[s]
                        hits[found, 2], hits[found, 3] = starts[i], ends[i + length - 1]
                    found += 1
    return found


@njit(cache=True)
def _step(
    c: int, salt: int, history: NDArray, order: int, table: NDArray, mask: int, out: NDArray
) -> None:
    """Put the table positions of the n-grams that end in `c` into `out`, shortest first."""
    h = _mix(salt ^ (_U(c) * _PRIME))
    out[0] = h & mask
    for k in range(1, order):
        h = _mix(h * _BASE + _U(history[k - 1]))
        out[k] = h & mask
    for k in range(order - 2, 0, -1):
        history[k] = history[k - 1]
    history[0] = c


@njit(cache=True)
def lm_count(
    buf: NDArray, offsets: NDArray, salts: NDArray, limit: int, order: int, table: NDArray
) -> None:
    """Add the character n-grams (1..order) of each text to a hashed count table.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries.
        salts: One a text; texts of the same salt share a model.
        limit: Characters of a text that are read.
        order: Longest n-gram.
        table: Counts, a power of two long, changed in place. Position of `salt` holds the total.
    """
    mask = _U(len(table) - 1)
    at = np.empty(order, np.uint64)
    history = np.zeros(order, np.int64)
    for d in range(len(offsets) - 1):
        history[:] = 0
        i, n = offsets[d], 0
        while i < offsets[d + 1] and n < limit:
            c, i = _decode(buf, i)
            _step(c, salts[d], history, order, table, mask, at)
            for k in range(order):
                table[at[k]] += 1
            n += 1
        table[_mix(salts[d]) & mask] += n


@njit(cache=True)
def lm_bits(
    buf: NDArray, offsets: NDArray, salts: NDArray, limit: int, order: int, table: NDArray
) -> NDArray:
    """Mean bits per character of each text under the counts of `lm_count`.

    p_k(c|h) = (n(h,c) + a p_{k-1}(c|h')) / (n(h) + a): each context length backs off to the next
    shorter one by Dirichlet smoothing, the shortest one to a uniform distribution.
    """
    mask = _U(len(table) - 1)
    at = np.empty(order, np.uint64)
    history = np.zeros(order, np.int64)
    context = np.zeros(order, np.float64)
    out = np.zeros(len(offsets) - 1, np.float64)
    for d in range(len(offsets) - 1):
        history[:] = 0
        context[:] = 0.0
        total = np.float64(table[_mix(salts[d]) & mask])
        i, n, bits, product = offsets[d], 0, 0.0, 1.0
        while i < offsets[d + 1] and n < limit:
            c, i = _decode(buf, i)
            _step(c, salts[d], history, order, table, mask, at)
            context[0] = total
            p = _UNIFORM
            for k in range(order):
                count = np.float64(table[at[k]])
                # A shared cell may hold more than its context: never let p pass 1.
                p = (min(count, context[k]) + _PRIOR * p) / (context[k] + _PRIOR)
            # Contexts of the next character are the n-grams that end here.
            for k in range(order - 1, 0, -1):
                context[k] = np.float64(table[at[k - 1]])
            product *= p
            if product < 1e-200:
                bits -= math.log2(product)
                product = 1.0
            n += 1
        out[d] = (bits - math.log2(product)) / max(n, 1)
    return out


@njit(cache=True)
def _contains(table: NDArray, key: int) -> bool:
    mask = _U(len(table) - 1)
    s = (key >> _S1) & mask
    while table[s] != _S0:
        if table[s] == key:
            return True
        s = (s + _S1) & mask
    return False


@njit(cache=True)
def _first_time(seen: NDArray, stamp: NDArray, mark: int, key: int) -> bool:
    """Remember a key in a set that `mark` empties without clearing; tell whether it is new."""
    mask = _U(len(seen) - 1)
    s = (key >> _S1) & mask
    for _ in range(8):
        if stamp[s] != mark:
            seen[s], stamp[s] = key, mark
            return True
        if seen[s] == key:
            return False
        s = (s + _S1) & mask
    seen[s] = key  # crowded: forget an older one, bounded memory matters more
    return True


@njit(cache=True)
def pair_key(first: int, second: int) -> int:
    """Hash two neighbouring CJK characters given their token hashes."""
    return _mix(first * _BASE + second) | _S1


@njit(cache=True)
def text_features(
    buf: NDArray, offsets: NDArray, function_words: NDArray, connectives: NDArray
) -> NDArray:
    """Count everything the heuristic scorer needs in one pass; see `FEATURES` for the columns.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries.
        function_words: Table of `build_table` with word and character keys.
        connectives: The same with words and with `pair_key`s of Chinese ones.
    """
    n_texts = len(offsets) - 1
    out = np.zeros((n_texts, 18), np.float64)
    words_seen, words_mark = np.zeros(2048, np.uint64), np.full(2048, -1, np.int64)
    lines_seen, lines_mark = np.zeros(65536, np.uint64), np.full(65536, -1, np.int64)
    for d in range(n_texts):
        f = out[d]
        word, previous, line = _FNV, _S0, _FNV
        word_chars = line_chars = 0
        ender = False
        i, end = offsets[d], offsets[d + 1]
        while i <= end:
            if i < end:
                raw, i = _decode(buf, i)
                c, k = _fold(raw), _kind(raw)
                f[0] += 1
                f[1 + (k + 5) % 6] += 1  # SPACE..CJK, then OTHER last: columns spaces..others
                if 65 <= raw <= 90:
                    f[7] += 1
            else:  # one virtual line end closes the last word and line
                raw = c = 10
                k = SPACE
                i += 1
            if ender and k == SPACE:
                f[14] += 1
            ender = raw == 46 or raw == 33 or raw == 63
            if raw in (0x3002, 0xFF01, 0xFF1F):
                f[14] += 1
            if k in (LETTER, DIGIT):
                word = (word ^ _U(c)) * _PRIME
                word_chars += 1
            elif word_chars > 0:
                key = _mix(word) | _S1
                f[8] += 1
                f[9] += word_chars
                f[10] += _contains(function_words, key)
                f[11] += _contains(connectives, key)
                if f[12] < _PROBE_WORDS:
                    f[12] += 1
                    f[13] += _first_time(words_seen, words_mark, d, key)
                word, word_chars, previous = _FNV, 0, _S0
            if k == CJK:
                h = _mix((_FNV ^ _U(c)) * _PRIME)
                f[8] += 1
                f[9] += 1
                f[10] += _contains(function_words, h | _S1)
                if previous != _S0:
                    key = pair_key(previous, h)
                    f[11] += _contains(connectives, key)
                    if f[12] < _PROBE_WORDS:
                        f[12] += 1
                        f[13] += _first_time(words_seen, words_mark, d, key)
                previous = h
            elif k == PUNCT:
                previous = _S0
            if raw == 10:
                if line_chars > 0:
                    f[15] += 1
                    f[16] += not _first_time(lines_seen, lines_mark, d, _mix(line) | _S1)
                    f[17] += line_chars < 20
                line, line_chars = _FNV, 0
            elif k != SPACE:
                line = (line ^ _U(c)) * _PRIME
                line_chars += 1
    return out
