from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openseek.config.training import ScheduleConfig
from openseek.training.schedule import learning_rate

SHAPES = ["wsd", "cosine", "linear", "constant"]


def course(config: ScheduleConfig, n_steps: int, tokens_per_step: int = 1000) -> list[float]:
    return [learning_rate(config, s, n_steps, tokens_per_step) for s in range(n_steps)]


def test_wsd_rises_stays_and_falls():
    config = ScheduleConfig(lr_peak=1.0, lr_end=0.1, warmup_fraction=0.1, decay_fraction=0.2)
    rates = course(config, 100)
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0
    assert set(rates[9:80]) == {1.0}
    assert rates[80] < 1.0
    assert rates[-1] == pytest.approx(0.1)


def test_a_continued_stage_starts_at_its_own_rate():
    config = ScheduleConfig(shape="linear", lr_peak=3e-4, lr_end=3e-5)
    rates = course(config, 50)
    assert rates[0] == pytest.approx(3e-4, rel=0.03)
    assert rates[-1] == pytest.approx(3e-5)


def test_cosine_is_half_way_in_the_middle():
    rates = course(ScheduleConfig(shape="cosine", lr_peak=2.0, lr_end=1.0), 101)
    assert rates[49] == pytest.approx(1.5, abs=0.02)


def test_minus_sqrt_falls_fast_first():
    rates = course(ScheduleConfig(lr_peak=1.0, decay_fraction=1.0, decay="minus_sqrt"), 100)
    assert rates[24] == pytest.approx(0.5)


def test_warmup_in_tokens():
    config = ScheduleConfig(shape="constant", lr_peak=1.0, warmup_tokens=4_500, lr_start=0.5)
    rates = course(config, 20, tokens_per_step=1000)
    assert rates[:5] == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert set(rates[4:]) == {1.0}


@given(
    shape=st.sampled_from(SHAPES),
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    end=st.floats(0, 1),
    n_steps=st.integers(1, 300),
)
def test_rates_stay_in_range_and_never_rise_after_the_warmup(shape, warmup, decay, end, n_steps):
    config = ScheduleConfig(
        shape=shape, lr_peak=1.0, lr_end=end, warmup_fraction=warmup, decay_fraction=decay
    )
    rates = course(config, n_steps)
    assert all(0 <= r <= 1 and math.isfinite(r) for r in rates)
    top = rates.index(max(rates))
    assert all(a >= b for a, b in zip(rates[top:], rates[top + 1 :], strict=False))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"warmup_tokens": 10, "warmup_fraction": 0.1}, "both set"),
        ({"lr_peak": 1e-4, "lr_start": 1e-3}, "warmup rises"),
        ({"lr_peak": 1e-4, "lr_end": 1e-3}, "lower lr_end"),
        ({"warmup_fraction": 0.6, "decay_fraction": 0.6}, "must fit"),
    ],
)
def test_impossible_schedules_are_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        ScheduleConfig(**fields)
