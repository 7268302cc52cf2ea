import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.evaluation.statistics import (
    benjamini_hochberg,
    detectable,
    effective_n,
    interval_and_p,
    mcnemar,
    paired_bootstrap,
    wilson,
)


@pytest.mark.parametrize(
    ("value", "n", "low", "high"),
    [
        (0.5, 100, 0.4038, 0.5962),
        (0.0, 20, 0.0, 0.1611),
        (1.0, 20, 0.8389, 1.0),
        (0.1, 10, 0.0179, 0.4042),
    ],
)
def test_wilson_intervals_of_the_textbook(value, n, low, high):
    assert wilson(value, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.floats(0, 1), st.integers(1, 100_000))
def test_wilson_holds_the_value_and_stays_a_share(value, n):
    low, high = wilson(value, n)
    assert 0 <= low <= value <= high <= 1


def test_a_group_counts_as_many_samples_as_its_error_says():
    assert effective_n(0.5, math.sqrt(0.25 / 400), 1000) == pytest.approx(400)
    assert effective_n(0.5, None, 30) == 30
    assert effective_n(1.0, 0.0, 30) == 30


def test_smallest_difference_of_a_hundred_even_items():
    assert detectable(0.05) == pytest.approx(2.8016 * math.sqrt(2) * 0.05, rel=1e-4)
    assert detectable(None) is None


def test_mcnemar_against_the_binomial():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(9, 2) == pytest.approx(2 * sum(math.comb(11, k) for k in range(3)) / 2**11)
    assert mcnemar(2, 9) == mcnemar(9, 2)
    assert 0 < mcnemar(4000, 3000) < 1e-30


def test_benjamini_hochberg_of_the_paper():
    # Table of Benjamini and Hochberg (1995), section 4: four of fifteen are found at 5 %.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
         0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    adjusted = benjamini_hochberg({str(i): x for i, x in enumerate(p)})
    assert [name for name, x in adjusted.items() if x <= 0.05] == ["0", "1", "2", "3"]
    assert adjusted["3"] == pytest.approx(0.0095 * 15 / 4)
    assert max(adjusted.values()) <= 1


def test_the_bootstrap_agrees_with_the_paired_standard_error_and_repeats_by_seed():
    rng = np.random.default_rng(0)
    d = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=400)
    drawn = paired_bootstrap([d], resamples=4000, seed=3)
    assert drawn.std() == pytest.approx(d.std() / 20, rel=0.05)
    assert np.array_equal(drawn, paired_bootstrap([d], resamples=4000, seed=3))
    low, high, p = interval_and_p(drawn)
    assert low < d.mean() < high
    assert p < 0.05
    assert interval_and_p(paired_bootstrap([[0.0] * 50], resamples=99, seed=1)) == (0.0, 0.0, 1.0)


def test_a_group_is_drawn_group_by_group():
    drawn = paired_bootstrap([[1.0] * 10, [0.0] * 1000], resamples=50, seed=1)
    assert set(drawn) == {0.5}
