from __future__ import annotations

import pytest
import training_small as small
from pydantic import ValidationError

from openseek.config.runtime import RuntimeConfig
from openseek.config.training import TrainConfig, TrainStepConfig
from openseek.errors import ConfigError
from openseek.training.ds_config import build_ds_config
from openseek.training.launch import choose_world_size


def test_a_batch_that_is_no_multiple_of_the_micro_batch_is_refused():
    with pytest.raises(ValidationError, match="not a multiple of micro_batch=3"):
        TrainConfig(batch_sequences=16, micro_batch=3)


def test_experts_that_do_not_divide_are_refused():
    with pytest.raises(ValidationError, match=r"does not divide model\.n_routed_experts=4"):
        small.step_config(parallel={"expert_parallel": 3})


def test_ranks_that_cannot_share_experts_are_refused():
    config = TrainConfig(batch_sequences=12, parallel={"expert_parallel": 2})
    assert build_ds_config(config.model_copy(update={"micro_batch": 2}), 2)
    with pytest.raises(ConfigError, match=r"3 ranks cannot form groups of .*expert_parallel=2"):
        build_ds_config(config, world_size=3)


def test_ranks_that_cannot_share_a_step_are_refused():
    with pytest.raises(ConfigError, match="4 micro-batches a step cannot be shared by 3 ranks"):
        build_ds_config(TrainConfig(), world_size=3)


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
    train = TrainConfig(batch_sequences=n_micro, micro_batch=1)
    assert choose_world_size(RuntimeConfig(world_size=wanted), train, devices) == ranks


def test_a_world_size_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="3 ranks"):
        choose_world_size(RuntimeConfig(world_size=3), TrainConfig(), 0)


@pytest.mark.parametrize(
    ("parallel", "n_micro", "devices", "ranks"),
    [
        ({"expert_parallel": 4}, 12, 8, 4),
        ({"pipeline": 4}, 3, 8, 4),
        ({"pipeline": 2}, 12, 9, 8),
        ({"pipeline": 2, "schedule": "dualpipev"}, 12, 9, 6),
    ],
    ids=str,
)
def test_automatic_ranks_form_groups_and_pipelines(parallel, n_micro, devices, ranks) -> None:
    train = {"batch_sequences": n_micro, "micro_batch": 1, "parallel": parallel}
    assert choose_world_size(RuntimeConfig(), TrainConfig.model_validate(train), devices) == ranks


@pytest.mark.parametrize("field", ["expert_parallel", "pipeline"])
def test_too_few_devices_for_a_group_are_refused(field) -> None:
    train = TrainConfig.model_validate({"parallel": {field: 8}})
    with pytest.raises(ConfigError, match=rf"up to 4.*fits.*parallel.{field}=8"):
        choose_world_size(RuntimeConfig(), train, 4)


def test_deepspeed_batch_sizes_are_consistent():
    config = TrainConfig(batch_sequences=16, micro_batch=2, precision="bf16")
    ds = build_ds_config(config, world_size=4)
    assert ds["gradient_accumulation_steps"] == 2
    product = ds["train_micro_batch_size_per_gpu"] * ds["gradient_accumulation_steps"] * 4
    assert ds["train_batch_size"] == product
    assert ds["bf16"]["enabled"]


def test_compiling_with_zero_3_is_refused():
    with pytest.raises(ValidationError, match="compile does not go with zero_stage=3"):
        TrainConfig(compile=True, zero_stage=3)
