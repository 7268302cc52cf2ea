from __future__ import annotations

import pytest
import training_small as small
from pydantic import ValidationError

from openseek.config.runtime import RuntimeConfig
from openseek.config.training import ParallelConfig, TrainConfig, TrainStepConfig
from openseek.errors import ConfigError
from openseek.training.ds_config import build_ds_config
from openseek.training.launch import choose_world_size


def test_a_batch_that_is_no_multiple_of_the_micro_batch_is_refused():
    with pytest.raises(ValidationError, match="not a multiple of micro_batch=3"):
        TrainConfig(batch_sequences=16, micro_batch=3)


def test_expert_parallelism_is_refused_with_a_mend():
    with pytest.raises(ValidationError, match="set it to 1"):
        ParallelConfig(expert_parallel=2)


def test_a_stage_without_a_single_step_is_refused():
    with pytest.raises(ValidationError, match="less than one step"):
        TrainStepConfig.model_validate({**small.step_config().model_dump(), "tokens": 100})


def test_checkpoints_do_not_change_the_identity():
    often = small.step_config(checkpoint={"every_steps": 1, "keep": 5})
    assert often.identity() == small.step_config().identity()
    assert small.step_config(grad_clip=2.0).identity() != small.step_config().identity()


@pytest.mark.parametrize(
    ("wanted", "n_micro", "devices", "ranks"),
    [(0, 4, 3, 2), (0, 8, 8, 8), (0, 5, 4, 1), (2, 4, 0, 2), (4, 4, 1, 4)],
)
def test_world_size_divides_the_micro_batches(wanted, n_micro, devices, ranks):
    runtime = RuntimeConfig(world_size=wanted)
    assert choose_world_size(runtime, n_micro, devices) == ranks


def test_a_world_size_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="3 ranks"):
        choose_world_size(RuntimeConfig(world_size=3), 4, 0)


def test_deepspeed_batch_sizes_are_consistent():
    config = TrainConfig(batch_sequences=16, micro_batch=2, precision="bf16")
    ds = build_ds_config(config, world_size=4)
    assert ds["gradient_accumulation_steps"] == 2
    product = ds["train_micro_batch_size_per_gpu"] * ds["gradient_accumulation_steps"] * 4
    assert ds["train_batch_size"] == product
    assert ds["bf16"]["enabled"]
