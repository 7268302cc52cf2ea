"""Compiled: a run without spaces is cut into tokens, by the rules of spaCy's English tokenizer.

Affixes come off both ends, exceptions (contractions, abbreviations, faces) and addresses stay whole
or are cut at their place, and what is left is cut at punctuation between letters. A character of a
run is `code << BITS | class` (see `characters`), and `cuts` marks where tokens begin.

`scan` draws on this file: see there for what a change here asks for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.cleaning.characters import (
    AFFIX,
    ALPHA,
    CURRENCY,
    DIGIT,
    END,
    HAN_PLANES,
    ICON,
    ICON_PLANE,
    JOINS,
    KIND,
    LETTER_PLANE,
    LOWER,
    PREFIX,
    PUNCT,
    QUOTE,
    STOPS,
    SYMBOL,
    UPPER,
)  # fmt: skip
from openseek.corpus.codepoints import decode, inlined, kernel, mix

WORD, HAS_ALPHA, ENDS_SENTENCE, ALL_PUNCT = 1, 2, 4, 8
"""Flags of a token: not all punctuation; with a letter; one character that ends a sentence; of
Unicode category P."""
BITS = 16
ALL = (1 << BITS) - 1
ZERO: Any = np.int64(0)  # a plain 0 would compile a second version of what it is passed to
_NOT_SPECIAL = -1

U = np.uint64
SEED = U(0xCBF29CE484222325)
PRIME = U(0x100000001B3)


@inlined
def table_row(c: int) -> int:
    """Find the row of a character in the table of classes."""
    if c < 0x10000:
        return c
    if 0x20000 <= c <= 0x3FFFF:
        return HAN_PLANES
    return ICON_PLANE if 0x1F000 <= c <= 0x1FBFF else LETTER_PLANE


@kernel
def hash_word(buf: NDArray) -> Any:
    """Hash a word the way `scan_texts` does, for lists of words."""
    h = SEED
    i = ZERO
    while i < buf.size:
        c, width = decode(buf, i)
        h = (h ^ U(c)) * PRIME
        i += width
    return mix(h)


@inlined
def look_up(table: NDArray, h: Any) -> Any:
    """Return the value of a hash in a table of (hash, value + 1) rows, or -1."""
    mask = table.shape[0] - 1
    at = np.int64(h & U(mask))
    while table[at, 1] != 0:
        if table[at, 0] == h:
            return np.int64(table[at, 1]) - 1
        at = (at + 1) & mask
    return -1


@kernel
def _special(run: NDArray, lo: int, hi: int, specials: NDArray) -> int:
    """Say where a contraction or abbreviation is cut (0: nowhere), or -1 if it is neither."""
    if hi - lo > 12 or hi - lo < 2:
        return _NOT_SPECIAL
    h = SEED
    telling = hi - lo < 5  # a face is short; all others have an apostrophe, a dot or a slash
    for k in range(lo, hi):
        c = run[k] >> BITS
        c = 39 if c == 0x2019 else c
        telling = telling or c == 39 or c == 46 or c == 47
        h = (h ^ U(c)) * PRIME
    return look_up(specials, mix(h)) if telling else _NOT_SPECIAL


@inlined
def _dots_at(run: NDArray, lo: int, hi: int) -> int:
    k = lo
    while k < hi and run[k] >> BITS == 46:
        k += 1
    return k - lo


@inlined
def _prefix(run: NDArray, lo: int, hi: int) -> int:
    """Measure what splits off at the start."""
    if run[lo] & PREFIX:
        return 1
    c = run[lo] >> BITS
    if c == 43:  # + before anything but a digit
        return 0 if lo + 1 < hi and run[lo + 1] & KIND == DIGIT else 1
    if c != 46:
        return 0
    dots = _dots_at(run, lo, hi)
    return dots if dots > 1 else 0


@kernel
def _unit(run: NDArray, lo: int, hi: int, units: NDArray) -> int:
    """Measure a unit of measurement right after a digit at the end."""
    k = hi
    while k > lo and hi - k < 4 and run[k - 1] & KIND != DIGIT:
        k -= 1
    if k in (lo, hi) or run[k - 1] & KIND != DIGIT:
        return 0
    h = SEED
    for j in range(k, hi):
        h = (h ^ U(run[j] >> BITS)) * PRIME
    return hi - k if look_up(units, mix(h)) >= 0 else 0


@inlined
def _suffix(run: NDArray, lo: int, hi: int, units: NDArray) -> int:
    """Measure what splits off at the end."""
    last = run[hi - 1] >> BITS
    before = run[hi - 2] & ALL if hi - 2 >= lo else 0
    if last == 46:
        k = hi
        while k > lo and run[k - 1] >> BITS == 46:
            k -= 1
        if hi - k > 1:
            return hi - k
        if before & (STOPS | QUOTE | LOWER) or before & KIND == DIGIT:
            return 1
        return 1 if before & UPPER and hi - 3 >= lo and run[hi - 3] & UPPER else 0
    if run[hi - 1] & AFFIX:
        return 1
    if hi - 2 < lo:
        return 0
    if (last == 115 or last == 83) and run[hi - 2] & QUOTE:
        apostrophe = run[hi - 2] >> BITS
        return 2 if apostrophe == 39 or apostrophe == 0x2019 else 0
    if before & KIND == DIGIT and (last == 43 or run[hi - 1] & CURRENCY):
        return 1
    if run[hi - 1] & ALPHA or last == 37 or last == 0xB2 or last == 0xB3:
        return _unit(run, lo, hi, units)
    return 0


@inlined
def _infix(run: NDArray, k: int, lo: int, hi: int) -> int:
    """Measure what splits the word at place k."""
    c = run[k] >> BITS
    if run[k] & ICON or c == 0x2026:
        return 1
    if c == 46:
        dots = _dots_at(run, k, hi)
        if dots > 1:
            return dots
    if k == lo or k + 1 >= hi:
        return 0
    before, after = run[k - 1], run[k + 1]
    if c == 46:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    digit_before = before & KIND == DIGIT
    operator = digit_before and (c == 45 or c == 43 or c == 42 or c == 94)
    if operator and (after & KIND == DIGIT or after >> BITS == 45):
        return 1
    if not (before & JOINS or (digit_before and c != 44)):
        return 0
    if c == 45 or c == 0x2014:  # up to three hyphens or two dashes between letters
        most = 3 if c == 45 else 2
        j = k + 1
        while j < hi and run[j] >> BITS == c and j - k < most:
            j += 1
        return j - k if j < hi and run[j] & JOINS else 0
    if after & JOINS and (c == 47 or c == 58 or 60 <= c <= 62 or c == 44 or c == 0x2013):
        return 1
    return 1 if after & JOINS and c == 126 else 0


@inlined
def _host_char(v: int) -> bool:
    c = v >> BITS
    return (c < 0x80 and (v & ALPHA > 0 or 48 <= c <= 57)) or c >= 0xA1


@kernel
def _is_host(run: NDArray, lo: int, hi: int) -> bool:
    """Tell whether a place holds host.tld, with port and path at will, to the end."""
    labels, start, k = 0, lo, lo
    lower = True
    while k < hi:
        c = run[k] >> BITS
        if _host_char(run[k]):
            lower = lower and run[k] & LOWER > 0
        elif c == 46:
            if k == start or not _host_char(run[start]) or not _host_char(run[k - 1]):
                return False
            labels, start, lower = labels + 1, k + 1, True
        elif c == 45 or c == 95:
            lower = False
        else:
            break
        k += 1
    if labels == 0 or not lower or not 2 <= k - start <= 63:
        return False
    if k < hi and run[k] >> BITS == 58:
        port = k + 1
        k = port
        while k < hi and 48 <= run[k] >> BITS <= 57:
            k += 1
        if not 2 <= k - port <= 5:
            return False
    if k == hi:
        return True
    c = run[k] >> BITS
    return c == 47 or c == 63 or c == 35


@inlined
def _in_scheme(v: int) -> bool:
    c = v >> BITS
    return c == 43 or c == 45 or c == 46 or c == 95


@kernel
def _is_url(run: NDArray, lo: int, hi: int) -> bool:
    start, k = lo, lo
    while k < hi - 2 and (run[k] & ALPHA or run[k] & KIND == DIGIT or _in_scheme(run[k])):
        k += 1
    if k - lo >= 2 and run[k] >> BITS == 58 and run[k + 1] >> BITS == 47 == run[k + 2] >> BITS:
        start = k + 3
    if _is_host(run, start, hi):
        return True
    k = start + 1
    while k < hi - 3 and not (run[k] >> BITS == 64 and _is_host(run, k + 1, hi)):
        k += 1
    return k < hi - 3


@kernel
def _cut_inside(run: NDArray, lo: int, hi: int, specials: NDArray, cuts: NDArray) -> None:
    """Cut what is left between the affixes: an exception, an address, or a word in pieces."""
    cut = _special(run, lo, hi, specials)
    if cut != _NOT_SPECIAL:
        cuts[lo + cut] = 1
        return
    k, asked = lo, False
    while k < hi:
        width = 0 if run[k] & ALPHA else _infix(run, k, lo, hi)
        if width == 0:
            k += 1
            continue
        if not asked:
            asked = True
            if _is_url(run, lo, hi):
                return
        if k > lo:
            cuts[k] = 1
            if k + width < hi:
                cuts[k + width] = 1
        k += width


@kernel
def _cut(run: NDArray, m: int, specials: NDArray, units: NDArray, cuts: NDArray) -> None:
    """Mark where the tokens of a run without spaces begin."""
    lo, hi = ZERO, m
    while lo < hi:
        if _special(run, lo, hi, specials) != _NOT_SPECIAL:
            break
        prefix = _prefix(run, lo, hi)
        if prefix and _special(run, lo + prefix, hi, specials) != _NOT_SPECIAL:
            lo += prefix
            cuts[lo] = 1
            break
        suffix = _suffix(run, lo + prefix, hi, units) if lo + prefix < hi else 0
        if prefix == 0 and suffix == 0:
            break
        if suffix:
            # spaCy sees the face `):` after each closing bracket and colon.
            face = run[hi - suffix] >> BITS == 58 and run[hi - 2] >> BITS == 41
            hi -= 2 if face and hi - 2 > lo + prefix else suffix
            cuts[hi] = 1
            if _special(run, lo, hi, specials) != _NOT_SPECIAL:
                break
        if prefix:
            lo += prefix
            cuts[lo] = 1
    if lo < hi:
        _cut_inside(run, lo, hi, specials, cuts)


@inlined
def write_token(tokens: Any, n: int, h: Any, chars: int, some: int, every: int) -> None:
    """Write one token."""
    flags = (0 if every & SYMBOL else WORD) | (HAS_ALPHA if some & ALPHA else 0)
    if every & PUNCT:
        flags |= ALL_PUNCT
    if chars == 1 and every & END:
        flags |= ENDS_SENTENCE
    tokens[0][n], tokens[1][n], tokens[2][n] = mix(h), chars, flags


@kernel
def write_run(run: NDArray, m: int, lists: Any, cuts: NDArray, tokens: Any, n: int) -> int:
    """Cut a run that is not all letters, and write its tokens; return the number of tokens."""
    _cut(run, m, lists[0], lists[1], cuts)
    h, some, every, start = SEED, ZERO, ZERO + ALL, ZERO
    for k in range(m):
        if cuts[k]:
            cuts[k] = 0
            if k > start:
                write_token(tokens, n, h, k - start, some, every)
                n += 1
                h, some, every, start = SEED, ZERO, ZERO + ALL, k
        v = run[k]
        h = (h ^ U(v >> BITS)) * PRIME
        some |= v
        every &= v
    cuts[m] = 0  # where affixes were all there is
    write_token(tokens, n, h, m - start, some, every)
    return n + 1
