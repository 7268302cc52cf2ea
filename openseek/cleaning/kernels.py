"""Compiled passes over UTF-8: character counts and repetition.

Texts come as one byte buffer and `offsets` (text i is `buf[offsets[i]:offsets[i+1]]`), which is
Arrow's own layout. All kernels sit in this one file: numba's cache on disk only notices changes
of the file that a function is defined in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

COUNTS = (
    "chars",
    "han",
    "kana",
    "letters",  # of scripts with spaces
    "digits",
    "spaces",
    "words",  # runs of letters, digits, _ and '
    "word_chars",
    "max_word_chars",
    "alpha_words",  # with at least one letter
    "stop_words_en",  # distinct ones of the given list
    "stop_words_zh",
    "hashes",
    "ellipses",
    "sentences",
    "braces",
    "replacements",  # U+FFFD
    "newlines",
    "lines",  # with something else than spaces in them
    "line_chars",
    "max_line_chars",
    "terminal_lines",
    "ellipsis_lines",
    "bullet_lines",
    "short_lines",
    "at_signs",
    "long_numbers",  # runs of at least 11 digits, with single spaces or dashes inside
    "dotted_numbers",  # digit . digit
)
"""Columns of `count_characters`."""

(
    _CHARS,
    _HAN,
    _KANA,
    _LETTERS,
    _DIGITS,
    _SPACES,
    _WORDS,
    _WORD_CHARS,
    _MAX_WORD,
    _ALPHA_WORDS,
    _STOPS_EN,
    _STOPS_ZH,
    _HASHES,
    _ELLIPSES,
    _SENTENCES,
    _BRACES,
    _REPLACEMENTS,
    _NEWLINES,
    _LINES,
    _LINE_CHARS,
    _MAX_LINE,
    _TERMINAL,
    _ELLIPSIS_LINES,
    _BULLETS,
    _SHORT_LINES,
    _AT,
    _LONG_NUMBERS,
    _DOTTED,
) = range(len(COUNTS))

REPETITION = (
    "dup_lines",
    "dup_line_chars",
    "dup_paragraphs",
    "dup_paragraph_chars",
    "top_2gram",
    "top_3gram",
    "top_4gram",
    "dup_5gram",
    "dup_6gram",
    "dup_7gram",
    "dup_8gram",
    "dup_9gram",
    "dup_10gram",
)
"""Columns of `measure_repetition`: shares of the text, 0 to 1."""

MAX_UNITS = 1 << 20  # repetition is measured on this many first words: 48 MB of scratch at most
_OTHER, _SPACE, _LETTER, _DIGIT, _HAN_KIND, _KANA_KIND = 0, 1, 2, 3, 4, 5
_SHORT_LINE = 30  # characters; FineWeb's value

_U = np.uint64
_SEED = _U(0xCBF29CE484222325)
_PRIME = _U(0x100000001B3)
_GRAM = _U(0x9E3779B97F4A7C15)  # odd, so that n-gram hashes are invertible in each word
_MIX1 = _U(0xBF58476D1CE4E5B9)
_MIX2 = _U(0x94D049BB133111EB)
_S27, _S30, _S31 = _U(27), _U(30), _U(31)
_ONE, _ZERO = _U(1), _U(0)


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
    """Classify a code point coarsely."""
    if c < 0x80:
        low = c | 32
        if 97 <= low <= 122:
            return _LETTER
        if c == 32 or 9 <= c <= 13:
            return _SPACE
        return _DIGIT if 48 <= c <= 57 else _OTHER
    if 0x4E00 <= c <= 0x9FFF or 0x3400 <= c <= 0x4DBF:
        return _HAN_KIND
    if c < 0x2000:
        if c == 0xA0:
            return _SPACE
        return _OTHER if c < 0xC0 or c in (0xD7, 0xF7) else _LETTER
    if 0x3040 <= c <= 0x30FF:
        return _KANA_KIND
    if c <= 0x200A or c in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000):
        return _SPACE
    if 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF:
        return _HAN_KIND
    if 0x2C00 <= c <= 0x2DFF or 0x3100 <= c <= 0x318F or 0xA000 <= c <= 0xD7FF:
        return _LETTER
    if 0xFB00 <= c <= 0xFDFF or 0xFE70 <= c <= 0xFEFC or 0x10000 <= c <= 0x1CFFF:
        return _LETTER
    if 0xFF10 <= c <= 0xFF19:
        return _DIGIT
    return _LETTER if 0xFF21 <= c <= 0xFF3A or 0xFF41 <= c <= 0xFF5A else _OTHER


@njit(cache=True)
def _is_terminal(c: int) -> bool:
    """Tell whether a line or sentence may end with the character."""
    if c < 0x80:
        return c in (33, 34, 39, 46, 63)  # ! " ' . ?
    if 0x2018 <= c <= 0x201F:
        return c in (0x2019, 0x201D)  # ' "
    return c in (0x2026, 0x3002, 0xFF01, 0xFF1F, 0xFF1B, 0x300D, 0x300F)  # … 。 ！ ？ ； 」 』


@njit(cache=True)
def _ends_sentence(c: int) -> bool:
    return c in (33, 46, 63, 0x3002, 0xFF01, 0xFF1F, 0x2026)


@njit(cache=True)
def _mix(h: Any) -> Any:
    """Finish a 64-bit hash (splitmix64); never 0, which marks a free slot."""
    h = (h ^ (h >> _S30)) * _MIX1
    h = (h ^ (h >> _S27)) * _MIX2
    return (h ^ (h >> _S31)) | _ONE


@njit(cache=True)
def hash_word(buf: NDArray) -> Any:
    """Hash a word the way `count_characters` does, for lists of stop words."""
    h = _SEED
    i = 0
    while i < buf.size:
        c, width = _decode(buf, i)
        h = (h ^ _U(c)) * _PRIME
        i += width
    return _mix(h)


@njit(cache=True)
def _count_one(
    buf: NDArray, start: int, end: int, stops: NDArray, stops_zh: NDArray, out: NDArray
) -> None:
    line_chars = 0  # of this line, up to its last character that is no space
    line_width = 0
    first, last, before_last = 0, 0, 0  # characters of this line that are no spaces
    word_chars = 0
    word_alpha = False
    h = _SEED
    seen = _ZERO
    digit_run = 0
    previous = 0
    i = start
    while i <= end:
        if i < end:
            c, width = _decode(buf, i)
            kind = _kind(c)
            out[_CHARS] += 1
        else:
            c, width, kind = 10, 1, _SPACE  # the text's end closes word and line
        is_word = kind in (_LETTER, _DIGIT) or c == 95 or (c == 39 and word_chars > 0)
        if is_word:
            word_chars += 1
            word_alpha = word_alpha or kind == _LETTER
            h = (h ^ _U(c)) * _PRIME
        elif word_chars > 0:
            out[_WORDS] += 1
            out[_WORD_CHARS] += word_chars
            out[_MAX_WORD] = max(out[_MAX_WORD], word_chars)
            out[_ALPHA_WORDS] += word_alpha
            at = np.searchsorted(stops, _mix(h))
            if at < stops.size and stops[at] == _mix(h):
                seen |= _ONE << _U(at)
            word_chars, word_alpha, h = 0, False, _SEED
        if kind == _DIGIT:
            out[_DIGITS] += 1
            digit_run += 1
            out[_LONG_NUMBERS] += digit_run == 11
            out[_DOTTED] += previous == 46
        elif not (digit_run > 0 and c in (32, 45)):
            digit_run = 0
        if kind == _HAN_KIND:
            out[_HAN] += 1
            code = _mix((_SEED ^ _U(c)) * _PRIME)
            at = np.searchsorted(stops, code)
            if at < stops.size and stops[at] == code:
                seen |= _ONE << _U(at)
        elif kind == _LETTER:
            out[_LETTERS] += 1
        elif kind == _KANA_KIND:
            out[_KANA] += 1
        elif kind == _OTHER:
            out[_HASHES] += c == 35
            out[_BRACES] += c in (123, 125)
            out[_AT] += c == 64
            out[_REPLACEMENTS] += c == 0xFFFD
            out[_ELLIPSES] += c == 0x2026 or (c == 46 and last == 46 and before_last == 46)
        elif i < end:
            out[_SPACES] += 1
        if c < 0x80:
            # A full stop inside a number or a name ends nothing: what follows decides.
            ended = kind == _SPACE and previous in (33, 46, 63)
        else:
            ended = _ends_sentence(c) and not _ends_sentence(previous)
        out[_SENTENCES] += ended
        if c == 10:
            out[_NEWLINES] += i < end
            if line_chars > 0:
                out[_LINES] += 1
                out[_LINE_CHARS] += line_chars
                out[_MAX_LINE] = max(out[_MAX_LINE], line_chars)
                out[_TERMINAL] += _is_terminal(last)
                dots = last == 46 and before_last == 46
                out[_ELLIPSIS_LINES] += last == 0x2026 or dots
                bullet = first in (42, 45, 0x2022, 0x2023, 0x25CF, 0x25E6, 0xB7)
                out[_BULLETS] += bullet
                out[_SHORT_LINES] += line_chars <= _SHORT_LINE
            line_chars, line_width, first, last, before_last = 0, 0, 0, 0, 0
        else:
            line_width += 1
            if kind != _SPACE:
                first = c if line_chars == 0 else first
                line_chars = line_width
                before_last, last = last, c
        previous = c
        i += width
    for at in range(stops.size):
        if (seen >> _U(at)) & _ONE:
            out[_STOPS_ZH if stops_zh[at] else _STOPS_EN] += 1


@njit(cache=True)
def count_characters(buf: NDArray, offsets: NDArray, stops: NDArray, stops_zh: NDArray) -> NDArray:
    """Count characters, words and lines of each text in one pass.

    Args:
        buf: UTF-8 of all texts, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        stops: Sorted hashes of stop words, at most 64.
        stops_zh: True where a stop word is a Chinese one.

    Returns:
        int64 of shape [texts, len(COUNTS)].
    """
    n = offsets.size - 1
    out = np.zeros((n, len(COUNTS)), np.int64)
    for d in range(n):
        _count_one(buf, offsets[d], offsets[d + 1], stops, stops_zh, out[d])
    return out


@njit(cache=True)
def _slot(keys: NDArray, stamps: NDArray, stamp: int, mask: int, key: Any) -> Any:
    """Find the slot of a key, or the free one where it belongs (linear probing)."""
    at = np.int64((key ^ (key >> _S31)) & _U(mask))
    while stamps[at] == stamp and keys[at] != key:
        at = (at + 1) & mask
    return at


@njit(cache=True)
def _split_units(
    buf: NDArray, start: int, end: int, hashes: NDArray, widths: NDArray
) -> tuple[int, int]:
    """Cut a text into words (Chinese: characters); return their number and all characters."""
    n, chars, word_chars = 0, 0, 0
    h = _SEED
    i = start
    while i < end and n < hashes.size - 1:
        c, width = _decode(buf, i)
        kind = _kind(c)
        chars += 1
        if kind in (_LETTER, _DIGIT) or c == 95 or (c == 39 and word_chars > 0):
            h = (h ^ _U(c)) * _PRIME
            word_chars += 1
        else:
            if word_chars > 0:
                hashes[n], widths[n] = _mix(h), word_chars
                n, word_chars, h = n + 1, 0, _SEED
            if kind in (_HAN_KIND, _KANA_KIND):
                hashes[n], widths[n] = _mix((_SEED ^ _U(c)) * _PRIME), 1
                n += 1
        i += width
    if word_chars > 0:
        hashes[n], widths[n] = _mix(h), word_chars
        n += 1
    return n, chars


@njit(cache=True)
def _gram_width(widths: NDArray, at: int, size: int, gap: int) -> int:
    total = gap * (size - 1)
    for j in range(at, at + size):
        total += widths[j]
    return total


@njit(cache=True)
def _grams(hashes: NDArray, n: int, size: int, grams: NDArray) -> int:
    """Write the hash of each n-gram; return how many there are."""
    if n < size:
        return 0
    drop = _ONE
    for _ in range(size):
        drop *= _GRAM
    h = _ZERO
    for i in range(n):
        h = h * _GRAM + hashes[i]
        if i >= size:
            h -= hashes[i - size] * drop
        if i >= size - 1:
            grams[i - size + 1] = _mix(h)
    return n - size + 1


@njit(cache=True)
def _top_gram(
    grams: NDArray, m: int, keys: NDArray, stamps: NDArray, values: NDArray, stamp: int, mask: int
) -> tuple[int, int]:
    """Return count and place of the most frequent n-gram, the earliest of equals."""
    best, place = 1, -1
    for i in range(m):
        at = _slot(keys, stamps, stamp, mask, grams[i])
        if stamps[at] != stamp:
            stamps[at], keys[at], values[at, 0], values[at, 1] = stamp, grams[i], 0, i
        values[at, 0] += 1
        count, first = values[at, 0], values[at, 1]
        if count > best or (count == best and 0 <= first < place):
            best, place = count, first
    return best, place


@njit(cache=True)
def _repeated_chars(
    grams: NDArray, m: int, size: int, gap: int, widths: NDArray, keys: NDArray,
    stamps: NDArray, stamp: int, mask: int,
) -> int:  # fmt: skip
    """Count characters inside n-grams that occurred before, each once."""
    total, i = 0, 0
    while i < m:
        at = _slot(keys, stamps, stamp, mask, grams[i])
        if stamps[at] == stamp:
            total += _gram_width(widths, i, size, gap)
            i += size
        else:
            stamps[at], keys[at] = stamp, grams[i]
            i += 1
    return total


@njit(cache=True)
def _repeated_pieces(
    buf: NDArray, start: int, end: int, breaks: int, keys: NDArray, stamps: NDArray, stamp: int,
    mask: int, out: NDArray,
) -> None:  # fmt: skip
    """Measure how many lines (`breaks`=1) or paragraphs (2 line ends) occurred before.

    Writes shares of pieces and of characters into `out[0]` and `out[1]`.
    """
    pieces, repeated, repeated_chars, chars = 0, 0, 0, 0
    h, width_now, pending, run = _SEED, 0, 0, 0
    i = start
    while i <= end:
        if i < end:
            c, width = _decode(buf, i)
            chars += 1
        else:
            c, width, run = 10, 1, breaks
        if c == 10:
            run += 1
        if c == 10 and run >= breaks:
            if width_now > 0 and pieces < mask // 2:
                key = _mix(h)
                at = _slot(keys, stamps, stamp, mask, key)
                pieces += 1
                if stamps[at] == stamp:
                    repeated += 1
                    repeated_chars += width_now
                else:
                    stamps[at], keys[at] = stamp, key
            h, width_now, pending = _SEED, 0, 0
        elif c == 10 or _kind(c) == _SPACE:
            pending += 1
            run = run if c == 10 else 0
        else:
            if width_now > 0:  # spaces count inside a piece, not around it
                width_now += pending
                h = (h ^ _U(pending)) * _PRIME
            h = (h ^ _U(c)) * _PRIME
            width_now += 1
            pending, run = 0, 0
        i += width
    out[0] = repeated / max(pieces, 1)
    out[1] = repeated_chars / max(chars, 1)


@njit(cache=True)
def measure_repetition(buf: NDArray, offsets: NDArray, wanted: NDArray, zh: NDArray) -> NDArray:
    """Measure repeated lines, paragraphs and n-grams (Gopher, appendix A1.1).

    Words are runs of letters and digits; in Chinese each character is one. Case counts. The first
    `MAX_UNITS` words of a text are looked at.

    Args:
        buf: UTF-8 of all texts, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        wanted: True where a text is to be measured; the others get zeros.
        zh: True where words are not separated by spaces.

    Returns:
        float64 of shape [texts, len(REPETITION)].
    """
    n = offsets.size - 1
    out = np.zeros((n, len(REPETITION)), np.float64)
    longest = 16
    for d in range(n):
        if wanted[d]:
            longest = max(longest, offsets[d + 1] - offsets[d])
    units = min(longest, MAX_UNITS) + 2
    size = 64
    while size < 2 * units:
        size *= 2
    hashes, grams = np.empty(units, np.uint64), np.empty(units, np.uint64)
    widths = np.empty(units, np.int32)
    keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int32)
    values = np.empty((size, 2), np.int32)
    stamp = 0
    for d in range(n):
        if not wanted[d] or offsets[d] == offsets[d + 1]:
            continue
        start, end = offsets[d], offsets[d + 1]
        mask = 63
        while mask < 2 * min(end - start, units):
            mask = 2 * mask + 1
        mask = min(mask, size - 1)
        for breaks in (1, 2):
            stamp += 1
            place = out[d, 2 * breaks - 2 : 2 * breaks]
            _repeated_pieces(buf, start, end, breaks, keys, stamps, stamp, mask, place)
        total, chars = _split_units(buf, start, end, hashes, widths)
        gap = 0 if zh[d] else 1
        for k in range(2, 11):
            if k > 5 and out[d, 1 + k] == 0.0:
                break  # no n-gram occurs twice, so no longer one can
            stamp += 1
            m = _grams(hashes, total, k, grams)
            if k < 5:
                count, at = _top_gram(grams, m, keys, stamps, values, stamp, mask)
                found = count * _gram_width(widths, at, k, gap) if at >= 0 else 0
            else:
                found = _repeated_chars(grams, m, k, gap, widths, keys, stamps, stamp, mask)
            out[d, 2 + k] = min(1.0, found / max(chars, 1))
    return out
