"""The order of a stage's sequences: pure functions of (seed, position), exact and seekable.

Two questions are answered in O(log n), without any state:

**Which group does position p draw from?** (`Interleaving`) With n sequences in the stage, n_g of
group g, and C_g the sum of the groups before it: let q(p) = (a·p + b) mod n with a near n/φ and
without a common factor with n. q is a permutation of 0 … n-1, so group g with C_g <= q(p) < C_{g+1}
occurs exactly n_g times; and as multiples of the golden ratio spread evenly, every stretch of
positions holds each group in its share to within a few sequences: no batch is short of a group.
The number of times that group g occurred before p, k, is a sum of floors, found as by Euclid.

**Which sequence is the k-th draw of a group with m sequences?** (`permuted`) Pass e = k div m goes
through all m sequences in an order of its own: a Feistel network (a bijection on a power of four)
followed until it lands below m. So within a pass each sequence comes exactly once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]

_GOLDEN = (math.sqrt(5) - 1) / 2
_ROUNDS = 6
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)  # constants of the splitmix64 finaliser (Steele et al. 2014)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def derive_key(*parts: object) -> int:
    """Derive a 64-bit key from numbers and names."""
    text = "\x00".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


class Interleaving:
    """Which group each position of a stage draws from, and for how many-th time.

    Args:
        counts: Sequences of each group in the stage.
        key: Shifts the whole order.
    """

    def __init__(self, counts: Sequence[int], key: int) -> None:
        self.counts = [int(c) for c in counts]
        self.n = sum(self.counts)
        self._edges = [0]
        for count in self.counts:
            self._edges.append(self._edges[-1] + count)
        self._inner = np.asarray(self._edges[1:], dtype=np.int64)
        self._a = spreading_multiplier(self.n)
        self._b = key % self.n if self.n else 0

    def at(self, first: int, length: int) -> tuple[Ints, Ints]:
        """Describe positions first … first + length - 1.

        Returns:
            Group of each position, and how often that group was drawn before it; int64 (length,).

        Raises:
            IndexError: The stage ends before.
        """
        if first < 0 or first + length > self.n:
            raise IndexError(f"positions {first}..{first + length - 1} of {self.n}")
        q0 = (self._a * first + self._b) % self.n
        q = (q0 + np.arange(length, dtype=np.int64) * self._a) % self.n
        groups = np.searchsorted(self._inner, q, side="right").astype(np.int64)
        draws = np.zeros(length, dtype=np.int64)
        for group in np.unique(groups):
            mine = groups == group
            draws[mine] = self.drawn_before(first, int(group)) + np.arange(int(mine.sum()))
        return groups, draws

    def drawn_before(self, position: int, group: int) -> int:
        """Count the positions below `position` that draw from a group."""
        low, high = self._edges[group], self._edges[group + 1]
        return self._below(position, high) - self._below(position, low)

    def _below(self, position: int, edge: int) -> int:
        """Count i < position with (a·i + b) mod n < edge."""
        if edge <= 0 or position <= 0:
            return 0
        if edge >= self.n:
            return position
        # (x mod n) < edge exactly if floor((x + n - edge) / n) equals floor(x / n).
        shifted = floor_sum(position, self.n, self._a, self._b + self.n - edge)
        return position - (shifted - floor_sum(position, self.n, self._a, self._b))


def spreading_multiplier(n: int) -> int:
    """Choose a near n/φ, without a common factor with n, whose multiples spread most evenly.

    How evenly the multiples of a/n spread depends on the quotients of its continued fraction:
    small ones are good, and n/φ itself has only ones. Of the nearest 101 numbers the one with the
    smallest sum of quotients is taken.
    """
    middle = round(n * _GOLDEN)
    best = (n + 1, 0, 1)
    for candidate in range(max(1, middle - 50), min(n - 1, middle + 50) + 1):
        if math.gcd(candidate, n) == 1:
            best = min(best, (_quotient_sum(candidate, n), abs(candidate - middle), candidate))
    return best[2]


def _quotient_sum(a: int, n: int) -> int:
    total = 0
    while a:
        quotient, rest = divmod(n, a)
        total += quotient
        n, a = a, rest
    return total


def floor_sum(count: int, modulus: int, factor: int, offset: int) -> int:
    """Sum floor((factor·i + offset) / modulus) over 0 <= i < count, in O(log modulus).

    All arguments are non-negative, modulus positive. Whole multiples of the modulus are taken out;
    what is left counts lattice points under a line, which are the points of the line with its axes
    exchanged: Euclid's algorithm on (modulus, factor).
    """
    total = 0
    while count > 0:
        whole, factor = divmod(factor, modulus)
        total += whole * (count * (count - 1) // 2)
        whole, offset = divmod(offset, modulus)
        total += whole * count
        top = factor * count + offset
        count, offset = divmod(top, modulus)
        modulus, factor = factor, modulus
        if not modulus:
            break
    return total


def permuted(draws: Ints, n: int, key: int) -> Ints:
    """Map draws of a group to its sequences: each pass over the group is a new permutation.

    Args:
        draws: Numbers of the draws, >= 0.
        n: Sequences in the group.
        key: Key of the group.

    Returns:
        Sequence numbers in 0 … n-1, of the shape of `draws`.
    """
    index = (draws % n).astype(np.uint64)
    if n == 1:
        return index.astype(np.int64)
    epochs = (draws // n).astype(np.uint64)
    keys = _mix(np.uint64(key) + epochs * np.uint64(0x9E3779B97F4A7C15))
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    value = _feistel(index, keys, half)
    while (outside := value >= n).any():
        value[outside] = _feistel(value[outside], keys[outside], half)
    return value.astype(np.int64)


def _feistel(value: Any, keys: Any, half: np.uint64) -> Any:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = value >> half, value & mask
    for number in range(_ROUNDS):
        left, right = right, left ^ (_mix(right + keys + np.uint64(number * 0x51ED2701)) & mask)
    return (left << half) | right


def _mix(value: Any) -> Any:
    """Scramble 64-bit words (overflow wraps, as it must)."""
    value = np.atleast_1d(value)
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))
