"""Code points, tokens and hashes: what every other kernel is built on.

Hashes made here are stored in trained classifiers, so a change of `fold`, `kind_of` or `mix` makes
those useless: raise `openseek.quality.linear.FEATURES_VERSION` with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus import codepoints
from openseek.corpus.codepoints import decode, mix

OTHER, SPACE, LETTER, DIGIT, PUNCT, CJK = 0, 1, 2, 3, 4, 5

U = np.uint64
FNV = U(0xCBF29CE484222325)
PRIME = U(0x100000001B3)
MIX2 = U(0x94D049BB133111EB)
BASE = U(0x9E3779B97F4A7C15)
ZERO, ONE = U(0), U(1)
_SHARED = zlib.crc32(b"".join(Path(f).read_bytes() for f in (__file__, codepoints.__file__)))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function and cache it on disk.

    numba's cache notices changes of the function's own file only, and all kernels inline what is
    in this file: its checksum goes into the name that the cache keeps a kernel under.
    """
    function.__qualname__ = f"{function.__qualname__}_{_SHARED:08x}"
    return njit(cache=True)(function)


@kernel
def kind_of(c: int) -> int:
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


@kernel
def fold(c: int) -> int:
    """Lower-case Latin, Greek and Cyrillic, and narrow full-width forms."""
    if 0xFF01 <= c <= 0xFF5E:
        c -= 0xFEE0
    if 65 <= c <= 90 or (0xC0 <= c <= 0xDE and c != 0xD7) or 0x391 <= c <= 0x3A9:
        return c + 32
    if 0x410 <= c <= 0x42F:
        return c + 32
    return c + 80 if 0x400 <= c <= 0x40F else c


@kernel
def split_tokens(
    buf: NDArray, a: int, b: int, hashes: NDArray, starts: NDArray, ends: NDArray
) -> tuple[int, int]:
    """Split one text into folded words and single CJK characters; count both."""
    n = cjk = 0
    h = FNV
    inside = False
    i = a
    while i < b:
        raw, width = decode(buf, i)
        j = i + width
        c = fold(raw)
        k = kind_of(c)
        if k in (LETTER, DIGIT):
            if not inside:
                inside = True
                starts[n] = i
                h = FNV
            h = (h ^ U(c)) * PRIME
            ends[n] = j
        else:
            if inside:
                hashes[n] = mix(h)
                n += 1
                inside = False
            if k == CJK:
                starts[n], ends[n] = i, j
                hashes[n] = mix((FNV ^ U(c)) * PRIME)
                n += 1
                cjk += 1
        i = j
    if inside:
        hashes[n] = mix(h)
        n += 1
    return n, cjk


@kernel
def tokenize(buf: NDArray, a: int, b: int) -> tuple[NDArray, NDArray, NDArray, int]:
    """Return token hashes, byte starts and ends of one text, and how many tokens are CJK."""
    room = b - a + 1
    hashes = np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    n, cjk = split_tokens(buf, a, b, hashes, starts, ends)
    return hashes[:n].copy(), starts[:n].copy(), ends[:n].copy(), cjk


@kernel
def contains(table: NDArray, key: int) -> bool:
    """Tell whether an open-addressing table (see `ngrams.build_table`) holds a key."""
    mask = U(len(table) - 1)
    s = (key >> ONE) & mask
    while table[s] != ZERO:
        if table[s] == key:
            return True
        s = (s + ONE) & mask
    return False
