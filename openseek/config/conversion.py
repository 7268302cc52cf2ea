"""How a checkpoint of Hugging Face becomes one of ours."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openseek.config.base import Bytes, Section, runtime


class ImportConfig(Section):
    """What `openseek model import` does with a DeepSeek-V3 or OpenSeek-Small-v1 checkpoint."""

    dtype: Literal["stored", "bfloat16", "float32"] = Field(
        "stored",
        description="Type of the weights; stored: as they are, bfloat16 for FP8 ones. Router "
        "biases are always float32.",
    )
    mtp: bool = Field(True, description="Keep the MTP layers, where the checkpoint has them.")
    pad_vocab: int = Field(
        1,
        description="Make the vocabulary a multiple of this by rows of zeros (64 suits matrix "
        "products); 1: as stored.",
        ge=1,
    )
    max_shard_bytes: Bytes = Field(
        5_000_000_000, description="Largest file of weights; a larger tensor has its own.", gt=0
    )
    parity_tokens: int = runtime(
        64,
        "Tokens of the longest sequence whose logits are compared with transformers' on the "
        "source, in fp32 (both models in memory: 8 bytes a parameter). 0: no comparison.",
        ge=0,
    )
    parity_tolerance: float = runtime(
        1e-4, "Largest absolute difference of a logit in fp32 (rounding alone gives 1e-5).", gt=0
    )
