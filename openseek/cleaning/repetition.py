"""The compiled measure of repetition: lines, paragraphs and n-grams of words (Gopher, A1.1).

An n-gram is named by the pair of the (n-1)-gram it begins with and its last word, so names are
exact; and only where the (n-1)-grams at a place and at the next one both occur twice can an n-gram
do so, so that a longer n-gram costs next to nothing in a text that repeats little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus.codepoints import inlined, kernel

REPETITION = (
    "dup_lines", "dup_line_chars", "dup_paragraphs", "dup_paragraph_chars", "dup_solid_line_chars",
    "top_2gram", "top_3gram", "top_4gram",
    "dup_5gram", "dup_6gram", "dup_7gram", "dup_8gram", "dup_9gram", "dup_10gram",
)  # fmt: skip
"""Columns of `measure_repetition`: shares of the text, 0 to 1."""

MAX_TOKENS = 1 << 20  # n-grams are looked at in this many first tokens: 48 MB of scratch at most

_U = np.uint64
_MULTIPLY = _U(0x9E3779B97F4A7C15)
_ZERO: Any = np.int64(0)  # a plain 0 would compile a second version of what it is passed to
_S29, _S32 = _U(29), _U(32)


@inlined
def _slot(keys: NDArray, values: NDArray, mask: int, key: Any) -> Any:
    """Find the slot of a key, or the free one where it belongs (value -1; linear probing)."""
    mixed = (key ^ (key >> _S32)) * _MULTIPLY
    at = np.int64((mixed ^ (mixed >> _S29)) & _U(mask))
    while values[at] >= 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


@inlined
def _clear(values: NDArray, n: int) -> int:
    """Empty a table with room for n keys; return its mask."""
    mask = 15
    while mask < 2 * n:
        mask = 2 * mask + 1
    mask = min(mask, values.size - 1)
    for at in range(mask + 1):
        values[at] = -1
    return mask


@kernel
def _repeated(
    hashes: NDArray, chars: NDArray, n: int, keys: NDArray, values: NDArray
) -> Any:  # fmt: skip
    """Count pieces that occurred before, and their characters."""
    mask = _clear(values, n)
    pieces, total = 0, 0
    for i in range(n):
        at = _slot(keys, values, mask, hashes[i])
        if values[at] >= 0:
            pieces += 1
            total += chars[i]
        else:
            keys[at], values[at] = hashes[i], 0
    return pieces, total


@kernel
def _measure_lines(
    lines: NDArray, n_chars: int, hashes: NDArray, chars: NDArray, keys: NDArray, values: NDArray,
    out: NDArray,
) -> None:  # fmt: skip
    """Measure repeated lines: of pieces between line ends, and of lines that are not blank."""
    n, solid_chars = _ZERO, 0
    for i in range(lines.shape[0]):
        if lines[i, 0] > 0:
            hashes[n], chars[n] = _U(lines[i, 2]), lines[i, 0]
            n += 1
            solid_chars += lines[i, 0]
    pieces, total = _repeated(hashes, chars, n, keys, values)
    # A text that starts and ends with a line end has an empty piece at each end, equal ones.
    starts, ends = lines[0, 0] == 0, lines.shape[0] > 1 and lines[-1, 0] == 0
    out[0] = (pieces + (starts and ends)) / max(1, n + starts + ends)
    out[1] = total / max(1, n_chars)
    n = _ZERO
    for i in range(lines.shape[0]):
        if lines[i, 1] > 0:
            hashes[n], chars[n] = _U(lines[i, 2]), lines[i, 0]
            n += 1
    _, total = _repeated(hashes, chars, n, keys, values)
    out[4] = total / max(1, solid_chars)


@kernel
def _measure_paragraphs(
    lines: NDArray, n_chars: int, hashes: NDArray, chars: NDArray, keys: NDArray, values: NDArray,
    out: NDArray,
) -> None:  # fmt: skip
    """Measure repeated paragraphs: lines between empty lines."""
    n = _ZERO
    open_ = False
    for i in range(lines.shape[0]):
        if lines[i, 0] == 0:
            n += open_
            open_ = False
        elif open_:
            hashes[n] = (hashes[n] ^ (hashes[n] >> _S29)) * _MULTIPLY + _U(lines[i, 2])
            chars[n] += 1 + lines[i, 0]
        else:
            hashes[n], chars[n] = _U(lines[i, 2]), lines[i, 0]
            open_ = True
    n += open_
    pieces, total = _repeated(hashes, chars, n, keys, values)
    out[2] = pieces / max(1, n)
    out[3] = total / max(1, n_chars)


@kernel
def _name_words(
    hashes: NDArray, n: int, words: NDArray, counts: NDArray, keys: NDArray, values: NDArray
) -> None:
    """Number the words of a text."""
    mask = _clear(values, n)
    names = 0
    for i in range(n):
        at = _slot(keys, values, mask, hashes[i])
        if values[at] < 0:
            keys[at], values[at] = hashes[i], names
            counts[names] = 0
            names += 1
        words[i] = values[at]
        counts[values[at]] += 1
    for i in range(n):  # a word that occurs once is in no repeated n-gram
        words[i] = words[i] if counts[words[i]] > 1 else -1 - words[i]


@kernel
def _name_grams(
    names: NDArray, words: NDArray, size: int, n: int, counts: NDArray, keys: NDArray,
    values: NDArray,
) -> bool:  # fmt: skip
    """Number the n-grams of one size, from those of one word less; -1 where one occurs once.

    Writes into `names` and, by name, how often each occurs. Returns whether any occurs twice.
    """
    live = _ZERO
    for i in range(n - size + 1):
        live += names[i] >= 0 and names[i + 1] >= 0
    mask = _clear(values, live)
    found, most = 0, 1
    for i in range(n - size + 1):
        if names[i] < 0 or names[i + 1] < 0:
            names[i] = -1
            continue
        key = (_U(names[i]) << _S32) | _U(words[i + size - 1])
        at = _slot(keys, values, mask, key)
        if values[at] < 0:
            keys[at], values[at] = key, found
            counts[found] = 0
            found += 1
        names[i] = values[at]
        counts[values[at]] += 1
        most = max(most, counts[values[at]])
    for i in range(max(0, n - size + 1), n):
        names[i] = -1
    for i in range(n - size + 1):
        if names[i] >= 0 and counts[names[i]] == 1:
            names[i] = -1
    return most > 1


@inlined
def _width(chars: NDArray, at: int, size: int) -> int:
    total = 0
    for j in range(at, at + size):
        total += chars[j]
    return total


@kernel
def _top_chars(names: NDArray, counts: NDArray, chars: NDArray, n: int, size: int, gap: int) -> int:
    """Count characters of the most frequent n-gram, the earliest of equals, with spaces."""
    if n < size:
        return 0
    best, place = 1, _ZERO
    for i in range(n - size + 1):
        if names[i] >= 0 and counts[names[i]] > best:
            best, place = counts[names[i]], i
    return best * (_width(chars, place, size) + gap * (size - 1))


@kernel
def _repeated_chars(
    names: NDArray, seen: NDArray, chars: NDArray, n: int, size: int
) -> int:  # fmt: skip
    """Count characters in n-grams that occurred before, each character once."""
    for at in range(n):
        seen[at] = 0
    total, i = 0, _ZERO
    while i < n - size + 1:
        if names[i] >= 0 and seen[names[i]]:
            total += _width(chars, i, size)
            i += size
        else:
            if names[i] >= 0:
                seen[names[i]] = 1
            i += 1
    return total


@kernel
def _measure_grams(
    hashes: NDArray, chars: NDArray, n_chars: int, gap: int, scratch: Any, keys: NDArray,
    values: NDArray, out: NDArray,
) -> None:  # fmt: skip
    words, names, counts = scratch
    n = min(hashes.size, MAX_TOKENS)
    _name_words(hashes, n, words, counts, keys, values)
    for i in range(n):
        names[i] = words[i]
    for size in range(2, 11):
        any_twice = _name_grams(names, words, size, n, counts, keys, values)
        if size < 5:
            found = _top_chars(names, counts, chars, n, size, gap)
        elif any_twice:
            found = _repeated_chars(names, counts, chars, n, size)
        else:
            break
        out[3 + size] = min(1.0, found / max(n_chars, 1))


@njit(cache=True)
def measure_repetition(
    lines: NDArray, first_lines: NDArray, hashes: NDArray, chars: NDArray, first_tokens: NDArray,
    n_chars: NDArray, wanted: NDArray, chinese: NDArray,
) -> NDArray:  # fmt: skip
    """Measure repeated lines, paragraphs and n-grams of words.

    Args:
        lines: Of each line its characters, those of them that are no space at its ends, and its
            hash; int64 of shape [lines, 3].
        first_lines: First line of each text, and the end of the last text; int64.
        hashes: Hash of each token, uint64.
        chars: Characters of each token, int32.
        first_tokens: First token of each text, and the end of the last text; int64.
        n_chars: Characters of each text, int64.
        wanted: 0 for a text that gets zeros, 1 for its lines and paragraphs, 2 for its n-grams
            as well; int8.
        chinese: True where words are not separated by spaces.

    Returns:
        float64 of shape [texts, len(REPETITION)].
    """
    texts = n_chars.size
    out = np.zeros((texts, len(REPETITION)), np.float64)
    most = 16
    for d in range(texts):
        if wanted[d] > 0:
            most = max(most, first_lines[d + 1] - first_lines[d])
            most = max(most, min(first_tokens[d + 1] - first_tokens[d], MAX_TOKENS))
    size = 64
    while size < 2 * most:
        size *= 2
    keys, values = np.empty(size, np.uint64), np.empty(size, np.int32)
    piece_hashes, piece_chars = np.empty(most, np.uint64), np.empty(most, np.int64)
    scratch = (np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32))
    for d in range(texts):
        if wanted[d] == 0 or n_chars[d] == 0:
            continue
        own = lines[first_lines[d] : first_lines[d + 1]]
        _measure_lines(own, n_chars[d], piece_hashes, piece_chars, keys, values, out[d])
        _measure_paragraphs(own, n_chars[d], piece_hashes, piece_chars, keys, values, out[d])
        if wanted[d] == 1:
            continue
        at, end = first_tokens[d], first_tokens[d + 1]
        _measure_grams(
            hashes[at:end], chars[at:end], n_chars[d], 0 if chinese[d] else 1, scratch, keys,
            values, out[d],
        )  # fmt: skip
    return out
