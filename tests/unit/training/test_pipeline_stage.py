"""A stage of a curriculum in a pipeline: the same figures, files and resumes as without."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import training_small as small
from safetensors.numpy import load_file

from openseek.artifacts.folder import FolderFiles
from openseek.model import load_native

pytestmark = pytest.mark.slow

CLOSE = 1e-5


def in_pipeline(schedule, **fields):
    return small.step_config(parallel={"pipeline": 2, "schedule": schedule}, **fields)


@pytest.fixture(scope="module", params=["1f1b", "dualpipev"])
def piped(request, inputs_root, tmp_path_factory):
    """Configuration, output folder and metrics of a run of two ranks in one pipeline."""
    config = in_pipeline(request.param)
    out = tmp_path_factory.mktemp("piped") / "out"
    return config, out, small.run(config, small.open_inputs(inputs_root), out)


def assert_same_figures(out, expected, close=CLOSE):
    lines, others = small.lines(out), small.lines(expected)
    assert [r["step"] for r in lines] == [r["step"] for r in others]
    for r, other in zip(lines, others, strict=True):
        assert r.keys() == other.keys()
        for key in ("loss", "grad_norm"):
            assert r[key] == pytest.approx(other[key], abs=close), (r["step"], key)
        for key in ("parts", "by_category", "expert_load", "router_entropy"):
            assert r[key] == pytest.approx(other[key], abs=close), (r["step"], key)
        assert r["router_bias"].keys() == other["router_bias"].keys()
        for layer, both in r["router_bias"].items():
            assert both == pytest.approx(other["router_bias"][layer], abs=1e-6)
        assert r["skipped"] == other["skipped"]
        assert r.get("documents") == other.get("documents")


def test_figures_are_those_of_the_whole_model(piped, uninterrupted):
    assert_same_figures(piped[1], uninterrupted[0])
    assert piped[2]["updates"] == uninterrupted[1]["updates"]


def test_files_are_those_of_the_whole_model(piped, uninterrupted):
    out, expected = piped[1], uninterrupted[0]
    assert small.content(out).keys() == small.content(expected).keys()
    for name in ("model/model.safetensors", "optimizer/optimizer.safetensors"):
        found, other = load_file(out / name), load_file(expected / name)
        assert found.keys() == other.keys()
        for key, value in found.items():
            assert np.abs(value - other[key]).max() < 1e-4, key
    assert load_native(out / "model").config == load_native(expected / "model").config


def test_resumed_it_is_the_same_bit_by_bit(piped, inputs_root, tmp_path):
    config, out, _ = piped
    for step in (8, 4):
        part = tmp_path / f"from-{step}"
        shutil.copytree(out / "_checkpoints" / str(step), part / "_checkpoints" / str(step))
        metrics = small.run(config, small.open_inputs(inputs_root), part)
        assert metrics["resumed_from"] == step
        assert small.content(part) == small.content(out)


def test_killed_and_resumed_it_is_the_same(piped, inputs_root, tmp_path):
    config, expected, _ = piped
    out = tmp_path / "out"
    parallel = config.train.parallel.model_dump()
    small.run_killed(inputs_root, out, die_at_step=9, parallel=parallel)
    metrics = small.run(config, small.open_inputs(inputs_root), out)
    assert metrics["resumed_from"] in (4, 8)
    assert small.content(out) == small.content(expected)


def test_the_next_stage_goes_on_with_and_without(piped, uninterrupted, inputs_root, tmp_path):
    """In a pipeline from a whole model, and whole from a pipeline: what whole from whole gives."""
    schedule = piped[0].train.parallel.schedule
    stage = {"stage": "specialization", "steps": 4}
    runs = {
        "expected": (small.step_config(**stage), uninterrupted[0]),
        "piped": (in_pipeline(schedule, **stage), uninterrupted[0]),
        "whole": (small.step_config(**stage), piped[1]),
        "both": (in_pipeline(schedule, **stage), piped[1]),
    }
    for name, (config, previous) in runs.items():
        inputs = {**small.open_inputs(inputs_root), "previous": FolderFiles(previous)}
        metrics = small.run(config, inputs, tmp_path / name)
        assert metrics["updates"] == small.STEPS + 4
        assert_same_figures(tmp_path / name, tmp_path / "expected", 5e-5)


def test_a_batch_that_gives_nan_is_skipped_on_all_ranks(piped, uninterrupted, tmp_path):
    rare = small.VOCAB - 1
    inputs = small.write_inputs(tmp_path / "data", rare=rare)
    inputs["previous"] = small.poisoned(uninterrupted[0], tmp_path / "previous", rare)
    metrics = small.run(piped[0], inputs, tmp_path / "out")
    assert [r["reason"] for r in metrics["skipped"]] == ["loss is not finite"]
    assert "math-0" in metrics["skipped"][0]["documents"]
    assert metrics["updates"] == 2 * small.STEPS - 1
    assert np.isfinite(metrics["loss_last"])


def test_two_pipelines_in_bf16_are_the_whole_model_and_resume_exactly(inputs_root, tmp_path):
    config, inputs = in_pipeline("1f1b", precision="bf16"), small.open_inputs(inputs_root)
    plain, whole, part = (tmp_path / name for name in ("plain", "whole", "part"))
    small.run(small.step_config(precision="bf16"), inputs, plain)
    small.run(config, inputs, whole, world_size=4)
    for r, other in zip(small.lines(whole), small.lines(plain), strict=True):
        assert r["loss"] == pytest.approx(other["loss"], abs=5e-3)
        assert r["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-2)
    shutil.copytree(whole / "_checkpoints" / "8", part / "_checkpoints" / "8")
    assert small.run(config, inputs, part, world_size=4)["resumed_from"] == 8
    assert small.content(part) == small.content(whole)
