"""Hashed n-gram features of a text, and a softmax regression over them.

A text is the mean of its features, as in fastText, so that its length does not matter:
p = softmax(b + 1/n sum_j W[f_j]). Features are words and single CJK characters, runs of
punctuation, their n-grams, and optionally the character n-grams inside of words.

Source: Joulin et al. 2016; unlike there W maps straight to the classes, without a hidden layer, and
learns by Adagrad (Duchi et al. 2011), which gives rare n-grams the larger steps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from openseek.corpus.codepoints import decode, mix
from openseek.quality.kernels.text import (
    BASE,
    CJK,
    DIGIT,
    FNV,
    LETTER,
    PRIME,
    PUNCT,
    SPACE,
    U,
    fold,
    kernel,
    kind_of,
)

_SALT = U(0x2545F4914F6CDD1D)  # keeps character n-grams apart from words that spell alike
_MOST_CHARS = 8  # longest character n-gram


@kernel
def _emit(out: NDArray, n: int, key: int, last: NDArray, order: int, mask: int) -> int:
    """Append the buckets of the n-grams that end in a token; shift it into `last`."""
    h = key
    out[n] = h & mask
    n += 1
    for k in range(order - 1):
        if last[k] == U(0):
            break
        h = mix(h * BASE + last[k])
        out[n] = h & mask
        n += 1
    for k in range(len(last) - 1, 0, -1):
        last[k] = last[k - 1]
    last[0] = key
    return n


@kernel
def _char_grams(
    out: NDArray, n: int, c: int, length: int, grams: NDArray, low: int, high: int, mask: int
) -> int:
    """Append the buckets of the character n-grams of a word that end in its latest character."""
    for k in range(min(length, high) - 1, 0, -1):
        grams[k] = (grams[k - 1] ^ U(c)) * PRIME
    grams[0] = (FNV ^ U(c)) * PRIME
    for k in range(low - 1, min(length, high)):
        out[n] = mix(grams[k] ^ _SALT) & mask
        n += 1
    return n


@kernel
def buckets_of(buf: NDArray, a: int, b: int, shape: NDArray, out: NDArray) -> int:
    """Write the buckets of a text's features, with repeats, and return how many there are.

    Args:
        buf: UTF-8 bytes.
        a: Where the text begins.
        b: Where it ends.
        shape: int64 (buckets, word n-gram, CJK n-gram, shortest and longest character n-gram,
            characters that are read); see `openseek.quality.linear.Features`.
        out: Room for at least `room_for` buckets, uint32.
    """
    mask = U(shape[0] - 1)
    word_order, cjk_order, low, high, limit = shape[1], shape[2], shape[3], shape[4], shape[5]
    last = np.zeros(max(word_order, cjk_order) + 1, np.uint64)
    grams = np.zeros(_MOST_CHARS, np.uint64)
    h = FNV
    n = length = run = read = 0
    i = a
    while i < b and read < limit:
        raw, width = decode(buf, i)
        i += width
        c, k = fold(raw), kind_of(raw)
        read += 1
        if k in (LETTER, DIGIT):
            run = 0
            h = (h ^ U(c)) * PRIME
            length += 1
            if high > 0:
                n = _char_grams(out, n, c, length, grams, low, high, mask)
            continue
        if length > 0:
            n = _emit(out, n, mix(h), last, word_order, mask)
            h, length = FNV, 0
        if k == CJK:
            n = _emit(out, n, mix((FNV ^ U(c)) * PRIME), last, cjk_order, mask)
        elif k == PUNCT and c != run:  # ---- counts like one dash
            n = _emit(out, n, mix((FNV ^ U(c)) * PRIME), last, word_order, mask)
        run = c if k != SPACE else 0
    if length > 0:
        n = _emit(out, n, mix(h), last, word_order, mask)
    return n


@kernel
def room_for(offsets: NDArray, shape: NDArray) -> int:
    """Bound the features of the longest text: one code point ends at most so many n-grams."""
    most = 0
    for d in range(len(offsets) - 1):
        most = max(most, min(offsets[d + 1] - offsets[d], shape[5]))
    return (most + 1) * (max(shape[1], shape[2]) * 2 + shape[4])


@kernel
def _softmax(z: NDArray) -> None:
    top = z[0]
    for k in range(1, len(z)):
        top = max(top, z[k])
    total = 0.0
    for k in range(len(z)):
        z[k] = math.exp(z[k] - top)
        total += z[k]
    for k in range(len(z)):
        z[k] /= total


@kernel
def linear_probabilities(
    buf: NDArray, offsets: NDArray, shape: NDArray, weights: NDArray, bias: NDArray
) -> NDArray:
    """Return softmax(b + mean of the rows of W), float32 (texts, classes).

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries.
        shape: See `buckets_of`.
        weights: float32 (buckets, classes).
        bias: float32 (classes,).
    """
    classes = len(bias)
    out = np.zeros((len(offsets) - 1, classes), np.float32)
    room = np.empty(room_for(offsets, shape), np.uint32)
    z, total = np.zeros(classes, np.float64), np.zeros(classes, np.float32)
    for d in range(len(offsets) - 1):
        n = buckets_of(buf, offsets[d], offsets[d + 1], shape, room)
        total[:] = 0
        for j in range(n):
            row = weights[room[j]]
            for k in range(classes):
                total[k] += row[k]
        for k in range(classes):
            z[k] = bias[k] + total[k] / max(n, 1)
        _softmax(z)
        for k in range(classes):
            out[d, k] = z[k]
    return out


@kernel
def linear_epoch(
    buf: NDArray, offsets: NDArray, order: NDArray, labels: NDArray, shape: NDArray,
    rate: float, weights: NDArray, bias: NDArray, seen: NDArray, seen_bias: NDArray,
) -> float:  # fmt: skip
    """Make one pass of Adagrad over the texts; return the mean loss before each step, in nats.

    Args:
        buf: UTF-8 bytes.
        offsets: Text boundaries.
        order: Texts in the order in which they are learned from.
        labels: Class of each text.
        shape: See `buckets_of`.
        rate: Step size.
        weights: float32 (buckets, classes), changed in place.
        bias: float32 (classes,), changed in place.
        seen: Squared gradients so far, like `weights`.
        seen_bias: The same for `bias`.
    """
    classes = len(bias)
    room = np.empty(room_for(offsets, shape), np.uint32)
    z, loss = np.zeros(classes, np.float64), 0.0
    for d in order:
        n = buckets_of(buf, offsets[d], offsets[d + 1], shape, room)
        found = np.sort(room[:n])
        z[:] = 0.0
        for j in range(n):
            for k in range(classes):
                z[k] += weights[found[j], k]
        for k in range(classes):
            z[k] = bias[k] + z[k] / max(n, 1)
        _softmax(z)
        loss -= math.log(max(z[labels[d]], 1e-12))
        z[labels[d]] -= 1.0
        for k in range(classes):
            seen_bias[k] += z[k] * z[k]
            bias[k] -= rate * z[k] / (math.sqrt(seen_bias[k]) + 1e-6)
        j = 0
        while j < n:  # a feature that occurs m times is one feature of value m / n
            at, m = found[j], 0
            while j < n and found[j] == at:
                m += 1
                j += 1
            for k in range(classes):
                g = z[k] * m / n
                seen[at, k] += g * g
                weights[at, k] -= rate * g / (math.sqrt(seen[at, k]) + 1e-9)
    return loss / max(1, len(order))
