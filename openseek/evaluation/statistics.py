"""What a score is worth: intervals, the smallest difference that shows, and paired tests.

Two checkpoints answer the same items, and mostly alike: the differences item by item scatter far
less than the scores do. A paired test sees what two separate error bars hide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

Z95 = 1.959964
"""Standard errors on each side of a 95 % interval."""

POWER80 = 0.841621
"""Further standard errors that a true difference needs to be found in four of five tries."""


def wilson(value: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson interval of a share, which stays inside [0, 1] also at its ends.

    Args:
        value: Share in [0, 1].
        n: Number of samples, or the effective one.
        z: Half width in standard errors.

    Source: Wilson, Probable inference (JASA 22, 1927).
    """
    if n <= 0:
        return 0.0, 1.0
    scale = 1 + z * z / n
    middle = (value + z * z / (2 * n)) / scale
    half = z * math.sqrt(max(0.0, value * (1 - value)) / n + z * z / (4 * n * n)) / scale
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))


def effective_n(value: float, stderr: float | None, n: float) -> float:
    """Return how many independent samples would give this standard error; `n` where none is known.

    A mean over groups weighs the items of small groups more: it is less sure than its n says.
    """
    if not stderr or not 0 < value < 1:
        return n
    return value * (1 - value) / (stderr * stderr)


def detectable(stderr: float | None) -> float | None:
    """Return the smallest true difference that a second, independent score like this one shows.

    At the 5 % level, with 80 % power: (1.96 + 0.84) * sqrt(2) standard errors. Paired on the same
    items much smaller ones show; see `openseek.evaluation.comparison`.
    """
    return None if stderr is None else (Z95 + POWER80) * math.sqrt(2) * stderr


def mcnemar(gained: int, lost: int) -> float:
    """Return McNemar's exact p-value: is the share of items gained among those that flipped a half?

    Args:
        gained: Items that only the second model has right.
        lost: Items that only the first model has right.

    Source: McNemar (Psychometrika 12, 1947), in the exact binomial form.
    """
    n, k = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(x) for x in logs))


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values so that calling those below q findings makes a share of at most q false.

    Source: Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995), the step-up procedure.
    """
    order = sorted(p_values, key=lambda name: (-p_values[name], name))
    found, least = {}, 1.0
    for i, name in enumerate(order):
        least = min(least, p_values[name] * len(order) / (len(order) - i))
        found[name] = least
    return {name: found[name] for name in p_values}


def paired_bootstrap(differences: Sequence[Sequence[float]], *, resamples: int, seed: int) -> Array:
    """Draw the distribution of the mean of groups' mean differences; items within each group.

    Args:
        differences: Group -> item -> second model's score less the first one's.
        resamples: How many times to draw.
        seed: Seed of the draw.

    Returns:
        One mean for each resample, [resamples].
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for group in differences:
        values, counts = np.unique(np.asarray(group, dtype=np.float64), return_counts=True)
        # Drawing items with replacement is drawing how often each value comes.
        drawn = rng.multinomial(len(group), counts / len(group), size=resamples)
        total += drawn @ values / len(group)
    return total / max(1, len(differences))


def interval_and_p(drawn: Array) -> tuple[float, float, float]:
    """Return the 95 % percentile interval of resampled differences, and the two-sided p-value.

    The p-value has one added above and below: with R resamples it is never under 2 / (R + 1).
    """
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return float(low), float(high), min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
