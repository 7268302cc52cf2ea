from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from openseek.config.monitoring import ExpertAlarmConfig
from openseek.training.alarms import ExpertAlarm

CONFIG = ExpertAlarmConfig(dead_below=0.1, overloaded_above=2.0, steps=3)
EVEN, UNEVEN = [10, 10, 10, 10], [0, 10, 5, 25]


def alarms(loads, config=CONFIG):
    alarm = ExpertAlarm(config)
    return [alarm.update({"layer.1": load, "layer.2": EVEN}) for load in loads]


def test_an_alarm_names_layer_and_experts_once_per_onset():
    found = alarms([UNEVEN] * 5 + [EVEN] + [UNEVEN] * 3)
    raised = [
        {"layer": "layer.1", "kind": "dead", "experts": [0]},
        {"layer": "layer.1", "kind": "overloaded", "experts": [3]},
    ]
    assert [i for i, a in enumerate(found) if a] == [2, 8]
    assert found[2] == found[8] == raised


def test_short_runs_and_silent_layers_raise_nothing():
    assert not any(alarms([UNEVEN, UNEVEN, EVEN] * 3))
    assert not any(alarms([[0, 0, 0, 0]] * 9))


def test_zero_limits_raise_nothing():
    off = ExpertAlarmConfig(dead_below=0, overloaded_above=0, steps=1)
    assert not any(alarms([UNEVEN] * 3, off))


def test_its_state_survives_json_in_the_middle_of_a_run():
    whole, part = ExpertAlarm(CONFIG), ExpertAlarm(CONFIG)
    for alarm in (whole, part):
        alarm.update({"a": UNEVEN})
        alarm.update({"a": UNEVEN})
    again = ExpertAlarm(CONFIG)
    again.load(json.loads(json.dumps(part.state())))
    assert again.update({"a": UNEVEN}) == whole.update({"a": UNEVEN}) != []


def test_an_overload_limit_below_even_is_refused():
    with pytest.raises(ValidationError, match="even load"):
        ExpertAlarmConfig(overloaded_above=0.5)
