"""Evidence for each domain: weighted keywords, each repeat counting less than the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.quality.kernels.text import (
    BASE,
    MIX2,
    ONE,
    ZERO,
    U,
    kernel,
    split_tokens,
)


@kernel
def _end_of(buf: NDArray, a: int, b: int, limit: int) -> int:
    """Find where the first `limit` characters of a text end."""
    if b - a <= limit:
        return b
    i, n = a, 0
    while i < b and n < limit:
        _, width = decode(buf, i)
        i += width
        n += 1
    return i


@kernel
def topic_evidence(
    buf: NDArray, offsets: NDArray, limit: int, longest: int, table: NDArray, slots: NDArray,
    topics: NDArray, weights: NDArray, n_topics: int,
) -> NDArray:  # fmt: skip
    """Add up the keywords of each topic in each text.

    The m-th time that a keyword occurs it adds weight / m^2: never more than 1.65 weights, so
    that a text of one word repeated is no evidence.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries.
        limit: Characters of a text that are read.
        longest: Tokens of the longest keyword.
        table: Window hashes of the keywords, see `ngrams.build_table`.
        slots: Index of each slot's keyword.
        topics: Topic of each keyword.
        weights: Weight of each keyword.
        n_topics: How many topics there are.

    Returns:
        float32 (texts, topics).
    """
    out = np.zeros((len(offsets) - 1, n_topics), np.float32)
    room = 0
    for d in range(len(offsets) - 1):
        room = max(room, min(offsets[d + 1] - offsets[d], 4 * limit))
    hashes = np.empty(room + 1, np.uint64)
    starts, ends = np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)
    count, mark = np.zeros(len(topics), np.int32), np.full(len(topics), -1, np.int64)
    mask = U(len(table) - 1)
    for d in range(len(offsets) - 1):
        end = _end_of(buf, offsets[d], offsets[d + 1], limit)
        n, _ = split_tokens(buf, offsets[d], end, hashes, starts, ends)
        for i in range(n):
            window = ZERO
            for length in range(1, min(longest, n - i) + 1):
                window = window * BASE + hashes[i + length - 1]
                key = mix(window ^ (U(length) * MIX2)) | ONE
                s = (key >> ONE) & mask
                while table[s] != ZERO and table[s] != key:
                    s = (s + ONE) & mask
                if table[s] == key:
                    word = slots[s]
                    if mark[word] != d:
                        mark[word], count[word] = d, 0
                    count[word] += 1
                    out[d, topics[word]] += weights[word] / count[word] ** 2
    return out
