from __future__ import annotations

import json
import math
import random

import pytest

from openseek.config.training import GuardConfig
from openseek.training.guard import Guard

CONFIG = GuardConfig(sigma=6, window=16, max_skips=2)


def warmed_up(config: GuardConfig = CONFIG) -> Guard:
    guard = Guard(config)
    noise = random.Random(0)
    for _ in range(config.window):
        guard.accept(2.0 + noise.gauss(0, 0.01), 1.0 + noise.gauss(0, 0.05))
    return guard


@pytest.mark.parametrize(
    ("loss", "norm", "says"),
    [
        (math.nan, 1.0, "loss is not finite"),
        (math.inf, 1.0, "loss is not finite"),
        (2.0, math.nan, "gradient is not finite"),
        (2.0, -1.0, "gradient is not finite"),
        (2.5, 1.0, "loss spike"),
        (2.0, 9.0, "gradient spike"),
        (2.01, 1.1, None),
        (0.5, 0.1, None),
    ],
)
def test_what_is_skipped(loss, norm, says):
    assert warmed_up().reason(loss, norm) == says


def test_no_spikes_before_half_a_window():
    guard = Guard(CONFIG)
    for _ in range(7):
        guard.accept(2.0, 1.0)
    assert guard.reason(50.0, 50.0) is None
    assert guard.reason(math.nan, 1.0) is not None


def test_sigma_zero_leaves_finite_values_alone():
    guard = warmed_up(GuardConfig(sigma=0, window=16))
    assert guard.reason(1e6, 1e6) is None


def test_skips_far_apart_are_forgiven():
    guard = Guard(CONFIG)
    assert [guard.skip(step) for step in (0, 5, 30, 31)] == [False] * 4
    assert guard.skip(32)


def test_state_survives_json():
    guard = warmed_up()
    guard.skip(3)
    again = Guard(CONFIG)
    again.load(json.loads(json.dumps(guard.state())))
    assert again.state() == guard.state()
