"""Scales, ticks and text metrics of the charts: numbers in, user units of the SVG out."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Map [lo, hi] to [start, end], straight or by the logarithm; values outside are clamped."""

    lo: float
    hi: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        lo, hi, x = self.lo, self.hi, min(max(value, self.lo), self.hi)
        if self.log:
            lo, hi, x = math.log10(lo), math.log10(hi), math.log10(x)
        share = (x - lo) / (hi - lo) if hi > lo else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, n: int = 5) -> list[float]:
        """Return about `n` round values inside the scale."""
        return log_ticks(self.lo, self.hi) if self.log else nice_ticks(self.lo, self.hi, n)


def nice_ticks(lo: float, hi: float, n: int = 5) -> list[float]:
    """Return about `n` multiples of 1, 2, 2.5 or 5 times a power of ten within [lo, hi]."""
    raw = (hi - lo) / max(n, 1)
    if not 1e-300 < raw < 1e300:  # empty, or at the ends of what a float holds
        return [lo]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(lo / step - 1e-9)
    count = math.floor(hi / step + 1e-9) - first + 1
    return [(first + i) * step for i in range(min(count, 4 * n + 4))]


def log_ticks(lo: float, hi: float) -> list[float]:
    """Return powers of ten within [lo, hi]; where they are too few, 2 and 5 times them as well."""
    first, last = math.floor(math.log10(lo)), math.ceil(math.log10(hi))
    stride = max(1, (last - first) // 6)
    powers = [10.0**e for e in range(first, last + 1, stride)]
    if last - first <= 2:
        powers = [m * p for p in powers for m in (1, 2, 5)]
    return [p for p in powers if lo * 0.999 <= p <= hi * 1.001] or [lo, hi]


def extent(values: Sequence[float], *, zero: bool = False, pad: float = 0.05) -> Point:
    """Return a range that holds all values with some room; never empty.

    Args:
        values: Finite numbers.
        zero: Whether the range must hold zero.
        pad: Room on both sides, as a share of the span; none at a bound that is zero.
    """
    if not values:
        return 0.0, 1.0
    lo, hi = min(values), max(values)
    if zero:
        lo, hi = min(lo, 0.0), max(hi, 0.0)
    if lo == hi:
        wide = abs(lo) * 0.1 or 1.0
        return (0.0, wide) if zero and lo == 0 else (lo - wide, hi + wide)
    room = (hi - lo) * pad
    return (lo if zero and lo == 0 else lo - room), (hi if zero and hi == 0 else hi + room)


def text_width(text: str, size: float = 12.0) -> float:
    """Estimate the width of a text in user units (a CJK character is as wide as it is high)."""
    # 0.6 em is the mean of bold Latin text in the usual system fonts, a little on the safe side.
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return size * (0.6 * (len(text) - wide) + 1.02 * wide)


def spread(positions: Sequence[float], gap: float, lo: float, hi: float) -> list[float]:
    """Push labels apart to at least `gap`, within [lo, hi], close to where they belong."""
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    gap = min(gap, (hi - lo) / max(1, len(order) - 1)) if len(order) > 1 else gap
    placed = [min(max(p, lo), hi) for p in positions]
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    limit = hi
    for i in reversed(order):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed


def decimate(points: Sequence[Point], limit: int = 400) -> list[Point]:
    """Thin out a curve and keep its spikes: the lowest and the highest point of each bucket."""
    if len(points) <= limit:
        return list(points)
    n_buckets = max(1, limit // 2)
    kept: list[Point] = []
    for b in range(n_buckets):
        bucket = points[b * len(points) // n_buckets : (b + 1) * len(points) // n_buckets]
        if bucket:
            ends = {id(p): p for p in (min(bucket, key=_y), max(bucket, key=_y))}
            kept.extend(sorted(ends.values()))
    if kept[0] != points[0]:
        kept.insert(0, points[0])
    if kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _y(point: Point) -> float:
    return point[1]


def smooth(points: Sequence[Point], share: float = 0.02) -> list[Point]:
    """Average a curve over a window of `share` of its length, centred on each point."""
    half = int(len(points) * share / 2)
    if half < 1:
        return list(points)
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    result = []
    for i, (x, _) in enumerate(points):
        lo, hi = max(0, i - half), min(len(points), i + half + 1)
        result.append((x, (sums[hi] - sums[lo]) / (hi - lo)))
    return result
