from __future__ import annotations

import json
import math
import random

import pytest

from openseek.config.training import GuardConfig
from openseek.training.guard import Guard, Rewind, rewound

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
    assert [guard.skip(step, "loss spike") for step in (0, 5, 30, 31)] == [False] * 4
    assert guard.skip(32, "loss is not finite")
    assert guard.rewind() == Rewind(
        first=30, last=32, reasons={30: "loss spike", 31: "loss spike", 32: "loss is not finite"}
    )


def test_a_rewind_leaves_out_what_came_before_too():
    guard = Guard(GuardConfig(window=16, max_skips=1, rewind_margin=100))
    guard.skip(7, "loss spike")
    guard.skip(9, "loss spike")
    assert (guard.rewind().first, guard.rewind().last) == (0, 9)


def test_what_rewinds_leave_out():
    rewinds = [Rewind(first=3, last=5, reasons={4: "loss spike"}), Rewind(first=2, last=3)]
    found = {step: rewound(rewinds, step) for step in range(1, 7)}
    near = "near a skipped step"
    assert found == {
        1: None, 2: (2, near), 3: (1, near), 4: (1, "loss spike"), 5: (1, near), 6: None,
    }  # fmt: skip
    assert Rewind.model_validate_json(rewinds[0].model_dump_json()) == rewinds[0]


def test_state_survives_json():
    guard = warmed_up()
    guard.skip(3, "loss spike")
    again = Guard(CONFIG)
    again.load(json.loads(json.dumps(guard.state())))
    assert again.state() == guard.state()
