"""The one place that knows DeepSpeed's configuration keys."""

from __future__ import annotations

from typing import Any

from openseek.config.training import TrainConfig


def build_ds_config(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """Translate a `TrainConfig` into DeepSpeed's configuration.

    Args:
        config: How to train.
        world_size: Number of ranks; must divide the micro-batches of a step.
    """
    ds: dict[str, Any] = {
        "train_batch_size": config.batch_sequences,
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": config.n_micro // world_size,
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
        ds["data_types"] = {"grad_accum_dtype": "fp32"}
    return ds
