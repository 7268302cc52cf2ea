"""Windows of tokens: hashing them, and looking them up in a table of wanted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.quality.kernels.text import (
    BASE,
    CJK,
    DIGIT,
    LETTER,
    MIX2,
    ONE,
    ZERO,
    U,
    fold,
    kernel,
    kind_of,
    split_tokens,
)

_WORD, _BIT = U(6), U(63)  # of a bit's number: which word, and which bit of it


@kernel
def window_hashes(hashes: NDArray, length: int) -> NDArray:
    """Hash every window of `length` tokens (polynomial over the token hashes, then mixed)."""
    n = len(hashes) - length + 1
    if n <= 0:
        return np.empty(0, np.uint64)
    prefix, power = prefix_hashes(hashes, len(hashes), length)
    out = np.empty(n, np.uint64)
    for i in range(n):
        out[i] = window_hash(prefix, i, length, power)
    return out


@kernel
def prefix_hashes(hashes: NDArray, n: int, length: int) -> tuple[NDArray, Any]:
    """Hash every prefix of the first n tokens; return with it BASE to the power of `length`."""
    prefix = np.empty(n + 1, np.uint64)
    prefix[0] = ZERO
    for i in range(n):
        prefix[i + 1] = prefix[i] * BASE + hashes[i]
    power = U(1)
    for _ in range(length):
        power = power * BASE
    return prefix, power


@kernel
def window_hash(prefix: NDArray, i: int, length: int, power: int) -> int:
    """Hash the window of `length` tokens that begins at token i; always odd."""
    return mix((prefix[i + length] - prefix[i] * power) ^ (U(length) * MIX2)) | ONE


@kernel
def build_table(keys: NDArray, table: NDArray, slots: NDArray) -> None:
    """Fill an open-addressing table (power of two, zero = free) with unique odd keys."""
    mask = U(len(table) - 1)
    for i in range(len(keys)):
        s = (keys[i] >> ONE) & mask
        while table[s] != ZERO:
            s = (s + ONE) & mask
        table[s] = keys[i]
        slots[s] = i


@kernel
def lead_set(keys: NDArray, words: int) -> NDArray:
    """Make a bit set (a power of two of 64-bit words) of hashed windows."""
    bits = np.zeros(words, np.uint64)
    mask = U(64 * words - 1)
    for key in keys:
        at = (key >> ONE) & mask
        bits[at >> _WORD] |= ONE << (at & _BIT)
    return bits


@kernel
def _lookup(key: int, table: NDArray, slots: NDArray) -> int:
    """Return the index of a key in a table of `build_table`, or -1."""
    mask = U(len(table) - 1)
    s = (key >> ONE) & mask
    while table[s] != ZERO:
        if table[s] == key:
            return slots[s]
        s = (s + ONE) & mask
    return -1


@kernel
def scan(
    buf: NDArray, offsets: NDArray, lengths: NDArray, leads: NDArray, table: NDArray,
    slots: NDArray, hits: NDArray,
) -> int:  # fmt: skip
    """Look up every window of the given token lengths in a table, text by text.

    Only windows whose beginning (as long as the shortest length) is in `leads` are looked up. Hits
    of one key that overlap or touch are one, so that a text that repeats itself gives few.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries, one more than texts.
        lengths: Window lengths in tokens, ascending.
        leads: Beginnings of all wanted windows, see `lead_set`.
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
    hashes, prefix = np.empty(room + 1, np.uint64), np.empty(room + 2, np.uint64)
    starts, ends = np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)
    powers = np.ones(len(lengths), np.uint64)
    for k in range(len(lengths)):
        for _ in range(lengths[k]):
            powers[k] *= BASE
    mask = U(64 * len(leads) - 1)
    first, found = lengths[0], 0
    last_text, last_row = np.full(len(slots), -1, np.int64), np.zeros(len(slots), np.int64)
    last_end = np.zeros(len(slots), np.int64)
    for d in range(n_texts):
        n, _ = split_tokens(buf, offsets[d], offsets[d + 1], hashes, starts, ends)
        prefix[0] = ZERO
        for i in range(n):
            prefix[i + 1] = prefix[i] * BASE + hashes[i]
        for i in range(n - first + 1):
            lead = (window_hash(prefix, i, first, powers[0]) >> ONE) & mask
            if (leads[lead >> _WORD] >> (lead & _BIT)) & ONE == ZERO:
                continue
            for k in range(len(lengths)):
                length = lengths[k]
                if i + length > n:
                    break
                at = _lookup(window_hash(prefix, i, length, powers[k]), table, slots)
                if at < 0:
                    continue
                end = ends[i + length - 1]
                if last_text[at] == d and starts[i] <= last_end[at]:
                    if last_row[at] < len(hits):
                        hits[last_row[at], 3] = end
                else:
                    if found < len(hits):
                        hits[found, 0], hits[found, 1] = d, at
                        hits[found, 2], hits[found, 3] = starts[i], end
                    last_text[at], last_row[at] = d, found
                    found += 1
                last_end[at] = end
    return found


@kernel
def count_tokens(buf: NDArray, a: int, b: int) -> int:
    """Count the tokens of a text, as `split_tokens` cuts them, without room for any."""
    n, inside, i = 0, False, a
    while i < b:
        raw, width = decode(buf, i)
        kind = kind_of(fold(raw))
        if kind in (LETTER, DIGIT):
            n += not inside
            inside = True
        else:
            inside = False
            n += kind == CJK
        i += width
    return n
