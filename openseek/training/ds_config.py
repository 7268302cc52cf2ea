"""The one place that knows DeepSpeed's configuration keys."""

from __future__ import annotations

from typing import Any

from openseek.config.training import TrainConfig
from openseek.errors import ConfigError

GROUP_WEIGHTS = 64_000_000
"""Weights whose gradients DeepSpeed copies at once, where that is limited."""


def build_ds_config(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """Translate a `TrainConfig` into DeepSpeed's configuration.

    Args:
        config: How to train.
        world_size: Number of ranks; must divide the micro-batches of a step.

    Raises:
        ConfigError: The ranks cannot be arranged as the configuration asks.
    """
    check_ranks(config, world_size)
    ds: dict[str, Any] = {
        "train_batch_size": config.batch_sequences,
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": config.n_micro // (world_size // config.parallel.pipeline),
        "gradient_clipping": config.grad_clip,
        "zero_optimization": {
            "stage": config.zero_stage,
            # Buffers are allocated whole: DeepSpeed's default of 5e8 elements is 2 GB a rank.
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
            "overlap_comm": False,
        },
        # Our AdamW is a subclass of torch's, which DeepSpeed does not recognise as tested.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": None,
    }
    if config.precision == "bf16":
        ds["bf16"] = {"enabled": True}
        ds["data_types"] = {"grad_accum_dtype": config.gradients}
    if config.gradients == "bf16":
        # One buffer for all gradients is another copy of them, and cannot be freed piece by piece.
        ds["zero_optimization"]["contiguous_gradients"] = config.zero_stage > 1
        ds["zero_optimization"]["sub_group_size"] = GROUP_WEIGHTS
    return ds


def check_ranks(config: TrainConfig, world_size: int) -> None:
    """Refuse a number of ranks that the configuration cannot be spread over.

    Raises:
        ConfigError: Says which number does not divide which, and what to change.
    """
    if problem := rank_problem(config, world_size):
        raise problem


def rank_problem(config: TrainConfig, world_size: int) -> ConfigError | None:
    """Return why the configuration cannot be spread over a number of ranks; None: it can."""
    where = f"runtime.world_size={world_size}"
    stages, shared = config.parallel.pipeline, config.parallel.expert_parallel
    if world_size % stages:
        return ConfigError(
            f"{world_size} ranks cannot form pipelines of train.parallel.pipeline={stages} ranks",
            where=where,
            mend=f"Start a multiple of {stages} ranks, or change train.parallel.pipeline.",
        )
    if world_size % shared:
        return ConfigError(
            f"{world_size} ranks cannot form groups of train.parallel.expert_parallel={shared} "
            "that each hold all experts",
            where=where,
            mend=f"Start a multiple of {shared} ranks, or lower train.parallel.expert_parallel.",
        )
    pipelines = world_size // stages
    if config.n_micro % pipelines:
        who = f"{world_size} ranks" if stages == 1 else f"{pipelines} pipelines"
        return ConfigError(
            f"{config.n_micro} micro-batches a step cannot be shared by {who}",
            where=where,
            mend="Choose a divisor, or change train.batch_sequences or train.micro_batch.",
        )
    needed = 2 * stages
    dualpipev = stages > 1 and config.parallel.schedule == "dualpipev"
    if dualpipev and config.n_micro // pipelines < needed:
        return ConfigError(
            f"dualpipev fills {stages} ranks with at least {needed} micro-batches, and a "
            f"pipeline gets {config.n_micro // pipelines}",
            where="train.parallel.schedule",
            mend="Raise train.batch_sequences, lower train.micro_batch, or use 1f1b.",
        )
    return None
