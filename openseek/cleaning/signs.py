"""One compiled look at a batch of texts: what could be repaired in each, and is it mathematics.

Most texts need none, and a search of its own for each kind would read every text six times. A sign
may be a false alarm, never a miss: the repairs themselves look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus.codepoints import kernel

MOJIBAKE, CONTROL, LINE_ENDS, COMPOSE, WIDTH, BLANK_LINES, SURROGATES, SYMBOLS = (
    1 << i for i in range(8)
)
"""`SYMBOLS`: operators and letters of mathematics; the others are repairs of `spelling`."""
EVERY = 255


def signs_of(texts: Sequence[str], most_blank: int) -> tuple[list[int], list[bytes]]:
    """Look at some texts.

    Args:
        texts: Texts.
        most_blank: Blank lines in a row that are fine.

    Returns:
        The signs of each text, and its UTF-8, in which lone surrogates are `?`.
    """
    encoded, lone = [], []
    for i, text in enumerate(texts):
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError:
            encoded.append(text.encode("utf-8", "replace"))
            lone.append(i)
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(e) for e in encoded], out=offsets[1:])
    buf = np.frombuffer(bytearray().join(encoded), np.uint8)
    found = find_signs(buf, offsets, _of_ascii(), most_blank)
    found[lone] = EVERY
    return found.tolist(), encoded


@lru_cache(maxsize=1)
def _of_ascii() -> NDArray[np.uint8]:
    table = np.zeros(128, np.uint8)
    table[:32] = table[127] = CONTROL
    table[9:14] = 0
    table[11:14] = LINE_ENDS
    return table


@kernel
def _of_wide(b: int, c: int, d: int) -> int:
    """Return the signs of a character by its first three bytes (0 for those it has not)."""
    if b == 0xC2:
        return (CONTROL if c < 0xA0 else 0) | (LINE_ENDS if c == 0x85 else 0)
    if b < 0xCC:  # U+00C0 to U+02FF; what may be the first byte of UTF-8 is U+00C2 to U+00F4
        return MOJIBAKE if b == 0xC3 and d > 0x7F else 0
    if b == 0xE2:
        if c == 0x80:
            if d == 0x8B or d == 0x8E or d == 0x8F or 0xAA <= d <= 0xAE:
                return CONTROL
            return LINE_ENDS if d == 0xA8 or d == 0xA9 else COMPOSE if d < 0x82 else 0
        if c == 0x81:
            return CONTROL if 0xA0 <= d <= 0xA9 else 0
        symbol = 0x88 <= c <= 0x8B or c == 0x9F or 0xA6 <= c <= 0xAB
        return (COMPOSE if c in (0x84, 0x8C, 0xAB) else 0) | (SYMBOLS if symbol else 0)
    if b == 0xE3:
        return COMPOSE if c == 0x82 and (d == 0x99 or d == 0x9A) else 0
    if b == 0xEF:
        if c == 0xBB or c == 0xBF:
            return CONTROL if d > 0xB8 else 0
        if c == 0xBC:
            return WIDTH if 0x90 <= d <= 0x99 or 0xA1 <= d <= 0xBA else 0
        if c == 0xBD:
            return WIDTH if 0x81 <= d <= 0x9A else 0
        return COMPOSE if c < 0xAE or c == 0xB8 else 0
    if 0xE4 <= b <= 0xE9 or b == 0xEB or b == 0xEC:
        return 0
    if b == 0xEA:
        return COMPOSE if c < 0xB0 else 0
    if b == 0xF0 and 0x9F <= c <= 0xAE:  # pictographs and Han
        return 0
    if b == 0xF0 and c == 0x9D:
        return COMPOSE | SYMBOLS
    return COMPOSE if b != 0xED or c >= 0x9E else 0


@njit(cache=True)
def find_signs(buf: NDArray, offsets: NDArray, of_ascii: NDArray, most_blank: int) -> NDArray:
    """Return the signs of each text (`buf[offsets[i]:offsets[i+1]]`), uint8.

    Args:
        buf: UTF-8, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        of_ascii: Signs of the first 128 characters, uint8.
        most_blank: Blank lines in a row that are fine.
    """
    out = np.zeros(offsets.size - 1, np.uint8)
    for t in range(out.size):
        signs, newlines = np.int64(0), 0
        start, end = offsets[t], offsets[t + 1]
        for i in range(start, end):
            b = np.int64(buf[i])
            if b == 10:
                newlines += 1
                before = buf[i - 1] if i > start else 10
                if before == 32 or before == 9 or before == 0xA0:
                    signs |= LINE_ENDS
                if newlines > most_blank + 1:
                    signs |= BLANK_LINES
            else:
                newlines = 0
                if b < 0x80:
                    signs |= of_ascii[b]
                elif b >= 0xC0:
                    last = end - 1
                    signs |= _of_wide(b, buf[min(i + 1, last)], buf[min(i + 2, last)])
        out[t] = signs
    return out
