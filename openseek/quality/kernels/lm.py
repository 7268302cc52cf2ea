"""A character n-gram language model in a hashed count table."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.quality.kernels.text import BASE, PRIME, U, kernel

_UNIFORM = 2.0**-17  # probability of an unseen character: one of 131,072 code points
_PRIOR = 4.0  # pseudo-counts of the shorter context (Dirichlet smoothing); flat between 2 and 10


@kernel
def _step(
    c: int, salt: int, history: NDArray, order: int, table: NDArray, mask: int, out: NDArray
) -> None:
    """Put the table positions of the n-grams that end in `c` into `out`, shortest first."""
    h = mix(salt ^ (U(c) * PRIME))
    out[0] = h & mask
    for k in range(1, order):
        h = mix(h * BASE + U(history[k - 1]))
        out[k] = h & mask
    for k in range(order - 2, 0, -1):
        history[k] = history[k - 1]
    history[0] = c


@kernel
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
    mask = U(len(table) - 1)
    at = np.empty(order, np.uint64)
    history = np.zeros(order, np.int64)
    for d in range(len(offsets) - 1):
        history[:] = 0
        i, n = offsets[d], 0
        while i < offsets[d + 1] and n < limit:
            c, width = decode(buf, i)
            i += width
            _step(c, salts[d], history, order, table, mask, at)
            for k in range(order):
                table[at[k]] += 1
            n += 1
        table[mix(salts[d]) & mask] += n


@kernel
def lm_bits(
    buf: NDArray, offsets: NDArray, salts: NDArray, limit: int, order: int, table: NDArray
) -> NDArray:
    """Mean bits per character of each text under the counts of `lm_count`.

    p_k(c|h) = (n(h,c) + a p_{k-1}(c|h')) / (n(h) + a): each context length backs off to the next
    shorter one by Dirichlet smoothing, the shortest one to a uniform distribution.
    """
    mask = U(len(table) - 1)
    at = np.empty(order, np.uint64)
    history = np.zeros(order, np.int64)
    context = np.zeros(order, np.float64)
    out = np.zeros(len(offsets) - 1, np.float64)
    for d in range(len(offsets) - 1):
        history[:] = 0
        context[:] = 0.0
        total = np.float64(table[mix(salts[d]) & mask])
        i, n, bits, product = offsets[d], 0, 0.0, 1.0
        while i < offsets[d + 1] and n < limit:
            c, width = decode(buf, i)
            i += width
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
