"""Calibration, and which experts a category goes to."""

import math

import numpy as np
import pytest
import torch

from openseek.evaluation.calibration import calibration, evaluation_calibration
from openseek.evaluation.heldout import Document
from openseek.evaluation.results import load_evaluation
from openseek.evaluation.specialisation import (
    add_choices,
    count_choices,
    experts_samples,
    first_windows,
    specialisation,
)
from openseek.model import build_model

from .made import write_evaluation


def sure(confidence, right, options=4):
    """An item whose likeliest option has a given probability."""
    rest = (1 - confidence) / (options - 1)
    logs = [math.log(confidence), *[math.log(rest)] * (options - 1)]
    return {"logprobs": logs, "bytes": [1] * options, "gold": 0 if right else 1}


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    rows = [sure(0.8, i % 5 != 0) for i in range(100)] + [sure(0.45, i < 9) for i in range(20)]
    found = calibration(rows)
    assert found["ece"] == pytest.approx(0, abs=1e-9)
    assert found["n"] == 120
    assert [b["n"] for b in found["bins"]] == [20, 100]


def test_overconfidence_is_the_distance_weighted_by_items():
    rows = [sure(0.95, i < 50) for i in range(100)] + [sure(0.55, True) for _ in range(100)]
    found = calibration(rows)
    assert found["ece"] == pytest.approx((0.45 + 0.45) / 2)
    assert found["accuracy"] == pytest.approx(0.75)
    assert calibration([sure(1 - 1e-12, True)])["bins"][0]["high"] == 1.0


def test_generated_answers_have_no_options_to_be_sure_of(tmp_path):
    assert calibration([{"logprobs": [], "bytes": [], "gold": 0}]) is None
    folder = write_evaluation(tmp_path / "e", {"piqa": 0.6, "siqa": 0.2}, n=50)
    found = evaluation_calibration(load_evaluation(folder))
    assert set(found["by_task"]) == {"piqa", "siqa"}
    assert found["n"] == 100


def test_counts_are_those_of_the_routers_and_padding_is_not_routed(model_config):
    model = build_model(model_config, seed=3).eval()
    rng = np.random.default_rng(0)
    sequences = [list(rng.integers(0, 400, n)) for n in (9, 30, 30, 17)]
    counts = count_choices(model, sequences)
    layers = [n for n, m in model.named_modules() if type(m).__name__ == "MoE"]
    assert set(counts) == {n for n in layers if not n.startswith("mtp")}
    for by_expert in counts.values():
        assert len(by_expert) == 4
        assert sum(by_expert) == 2 * 86  # top 2 of each token
    apart = [count_choices(model, [s]) for s in sequences]
    for layer, by_expert in counts.items():
        assert by_expert == [sum(c[layer][e] for c in apart) for e in range(4)]
    assert count_choices(torch.nn.Linear(2, 2), sequences) == {}


def test_no_more_tokens_than_asked_for():
    found = first_windows(list(range(100)), 7, 32, 60)
    assert list(map(len, found)) == [32, 28]
    assert found[0][0] == 7
    assert first_windows(list(range(50)), None, 32, 0) == []


def test_documents_are_chosen_until_there_are_tokens_enough():
    documents = [Document(str(i), "code", "en", "made", "x" * 300) for i in range(9)]
    chosen = experts_samples(documents, 250)
    assert [s.context for s in chosen] == ["x" * 300] * 3
    assert [s.max_tokens for s in chosen] == [250, 149, 48]
    assert add_choices([{"l": [1, 2]}, {"l": [3, 0]}]) == {"l": [4, 2]}


def test_divergence_is_zero_for_the_same_and_one_bit_for_disjoint_routing():
    same = specialisation({"code": {"l": [3, 5]}, "math": {"l": [30, 50]}})
    assert same["divergence"]["l"] == {"code": 0.0, "math": 0.0}
    apart = specialisation({"code": {"l": [8, 0]}, "math": {"l": [0, 2]}})
    assert apart["by_layer"]["l"] == pytest.approx(1.0)
    assert apart["shares"]["l"]["code"] == [1.0, 0.0]
    assert apart["choices"] == {"code": 8, "math": 2}
    assert specialisation({"code": {}, "math": {}}) is None
