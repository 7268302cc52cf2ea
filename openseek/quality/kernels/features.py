"""Counts over a text for the heuristic scorer, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.quality.kernels.text import (
    BASE,
    CJK,
    DIGIT,
    FNV,
    LETTER,
    ONE,
    PRIME,
    PUNCT,
    SPACE,
    ZERO,
    U,
    contains,
    fold,
    kernel,
    kind_of,
)

FEATURES = (
    "chars", "spaces", "letters", "digits", "puncts", "cjk", "others", "upper",
    "words", "word_chars", "function_words", "connectives", "probed_words", "distinct_words",
    "sentences", "lines", "duplicate_lines", "short_lines",
)  # fmt: skip
"""Columns of `text_features`, in order. CJK characters count as words of one character."""

_PROBE_WORDS = 512  # vocabulary is measured on a window of this many words, whatever the length


@kernel
def _first_time(seen: NDArray, stamp: NDArray, mark: int, key: int) -> bool:
    """Remember a key in a set that `mark` empties without clearing; tell whether it is new."""
    mask = U(len(seen) - 1)
    s = (key >> ONE) & mask
    for _ in range(8):
        if stamp[s] != mark:
            seen[s], stamp[s] = key, mark
            return True
        if seen[s] == key:
            return False
        s = (s + ONE) & mask
    seen[s] = key  # crowded: forget an older one, bounded memory matters more
    return True


@kernel
def pair_key(first: int, second: int) -> int:
    """Hash two neighbouring CJK characters given their token hashes."""
    return mix(first * BASE + second) | ONE


@kernel
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
        word, previous, line = FNV, ZERO, FNV
        word_chars = line_chars = 0
        ender = False
        i, end = offsets[d], offsets[d + 1]
        while i <= end:
            if i < end:
                raw, width = decode(buf, i)
                i += width
                c, k = fold(raw), kind_of(raw)
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
                word = (word ^ U(c)) * PRIME
                word_chars += 1
            elif word_chars > 0:
                key = mix(word) | ONE
                f[8] += 1
                f[9] += word_chars
                f[10] += contains(function_words, key)
                f[11] += contains(connectives, key)
                if f[12] < _PROBE_WORDS:
                    f[12] += 1
                    f[13] += _first_time(words_seen, words_mark, d, key)
                word, word_chars, previous = FNV, 0, ZERO
            if k == CJK:
                h = mix((FNV ^ U(c)) * PRIME)
                f[8] += 1
                f[9] += 1
                f[10] += contains(function_words, h | ONE)
                if previous != ZERO:
                    key = pair_key(previous, h)
                    f[11] += contains(connectives, key)
                    if f[12] < _PROBE_WORDS:
                        f[12] += 1
                        f[13] += _first_time(words_seen, words_mark, d, key)
                previous = h
            elif k == PUNCT:
                previous = ZERO
            if raw == 10:
                if line_chars > 0:
                    f[15] += 1
                    f[16] += not _first_time(lines_seen, lines_mark, d, mix(line) | ONE)
                    f[17] += line_chars < 20
                line, line_chars = FNV, 0
            elif k != SPACE:
                line = (line ^ U(c)) * PRIME
                line_chars += 1
    return out
