from __future__ import annotations

import shutil

import pytest
import training_small as small

from openseek.config.model import ModelConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, DataError
from openseek.model import build_model, save_native
from openseek.training.start import snapshot, start_files


@pytest.fixture
def weights(tmp_path):
    save_native(build_model(ModelConfig.model_validate(small.MODEL), seed=5), tmp_path / "weights")
    return tmp_path / "weights"


def test_its_content_counts_and_its_place_does_not(weights, tmp_path):
    runtime = RuntimeConfig(downloads=str(tmp_path / "downloads"))
    config = small.step_config(start=str(weights))
    assert config.identity() == small.step_config().identity()
    known = snapshot(config, runtime)
    assert set(known["start"]) == {"config.json", "model.safetensors"}
    moved = shutil.copytree(weights, tmp_path / "moved")
    assert snapshot(small.step_config(start=str(moved)), runtime) == known
    save_native(build_model(ModelConfig.model_validate(small.MODEL), seed=6), moved)
    assert snapshot(small.step_config(start=str(moved)), runtime) != known


def test_only_the_first_stage_starts_there(weights):
    config = small.step_config(start=str(weights))
    assert start_files(config) is not None
    assert start_files(config.model_copy(update={"index": 1})) is None
    assert start_files(small.step_config()) is None
    assert snapshot(small.step_config(), RuntimeConfig()) == {}


def test_what_is_no_folder_of_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is a URL"):
        start_files(small.step_config(start="s3://bucket/model"))
    with pytest.raises(DataError, match=r"no file \*config.json"):
        start_files(small.step_config(start=str(tmp_path)))


def test_a_stage_starts_there(weights, inputs_root, uninterrupted, tmp_path):
    inputs = small.open_inputs(inputs_root)
    fresh = small.step_config(steps=1, seed=5)
    metrics = small.run(fresh, inputs, tmp_path / "fresh")
    started = small.run(
        small.step_config(steps=1, start=str(weights)), inputs, tmp_path / "started"
    )
    assert started["loss_first"] == metrics["loss_first"] != uninterrupted[1]["loss_first"]
    assert small.content(tmp_path / "started") == small.content(tmp_path / "fresh")
