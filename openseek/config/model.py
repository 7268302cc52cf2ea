"""The shape of the model, in Hugging Face's DeepSeek-V3 names, and presets of it.

Read here, derived in `openseek.model.config`. A section may start from a preset and change some of
it: `model: {preset: demo, num_hidden_layers: 6}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from openseek.config.base import Bytes, Count, Section, runtime
from openseek.config.model_presets import PRESETS


class YarnConfig(Section):
    """YaRN: longer contexts by stretching the slow rotary frequencies (arXiv 2309.00071)."""

    factor: float = Field(
        description="Context length after stretching over the original one.", ge=1
    )
    original_max_position_embeddings: Count = Field(
        4096, description="Context length before stretching, in tokens (DeepSeek-V3: 4096).", gt=0
    )
    beta_fast: float = Field(
        32.0, description="Turns over the original context above which a frequency is kept.", gt=0
    )
    beta_slow: float = Field(
        1.0, description="Turns below which a frequency is stretched fully.", gt=0
    )
    mscale: float = Field(
        1.0, description="Weight of log(factor) in the scale of cos and sin.", gt=0
    )
    mscale_all_dim: float = Field(
        1.0,
        description="Weight of log(factor) that divides the scale of cos and sin and, squared, "
        "multiplies the softmax scale; 0 switches both off.",
        ge=0,
    )

    @model_validator(mode="after")
    def _check(self) -> YarnConfig:
        if not self.mscale_all_dim and self.mscale != 1.0:
            raise ValueError(
                f"mscale={self.mscale} without mscale_all_dim is read differently by DeepSeek's "
                "code and by transformers: set mscale to 1 or give mscale_all_dim"
            )
        return self


class MtpConfig(Section):
    """Multi-token prediction: extra layers that predict tokens further ahead (DeepSeek-V3, 2.2)."""

    depth: int = Field(0, description="Number of MTP layers; layer k predicts token t+1+k.", ge=0)
    loss_weight: float = Field(
        0.3, description="Weight of the mean MTP loss in the total (DeepSeek-V3: 0.3).", ge=0
    )
    input: Literal["pre_norm", "post_norm"] = Field(
        "pre_norm",
        description="Hidden state fed to MTP: before the final norm (as released weights and "
        "torchtitan) or after it (as transformers' drafting code).",
    )


class BalanceConfig(Section):
    """How the experts' load is kept even."""

    bias_update_rate: float = Field(
        1e-3,
        description="Step of the auxiliary-loss-free bias update after each optimizer step; 0 "
        "switches it off (DeepSeek-V3 and OpenSeek-Small: 1e-3).",
        ge=0,
    )
    seq_aux_weight: float = Field(
        1e-4, description="Weight of the sequence-wise balance loss (DeepSeek-V3: 1e-4).", ge=0
    )
    z_loss: float = Field(
        0.0, description="Weight of the mean squared logsumexp of the router's logits.", ge=0
    )


class ModelConfig(Section):
    """A DeepSeek-V3 model: MLA, fine-grained experts with a sigmoid router, MTP."""

    model_type: ClassVar[str] = "deepseek_v3"
    hidden_act: ClassVar[str] = "silu"

    preset: str = runtime(
        "", f"Values to start from: {', '.join(PRESETS)}. Fields given beside it win. Empty: none."
    )
    vocab_size: Count = Field(
        0,
        description="Rows of the embedding; 0: the tokenizer's size, rounded up to 64.",
        ge=0,
    )
    hidden_size: int = Field(256, description="Width of the residual stream.", gt=0)
    num_hidden_layers: int = Field(4, description="Decoder layers without MTP.", gt=0)
    first_k_dense_replace: int = Field(
        1, description="First layers with a dense feed-forward in place of experts.", ge=0
    )
    intermediate_size: int = Field(768, description="Width of a dense feed-forward.", gt=0)
    moe_intermediate_size: int = Field(128, description="Width of one expert.", gt=0)
    n_routed_experts: int = Field(16, description="Routed experts a layer.", gt=0)
    num_experts_per_tok: int = Field(4, description="Routed experts a token uses (top-k).", gt=0)
    n_shared_experts: int = Field(1, description="Experts that every token uses.", ge=0)
    n_group: int = Field(
        1, description="Groups of experts for node-limited routing; 1: no limit.", gt=0
    )
    topk_group: int = Field(1, description="Groups a token may use.", gt=0)
    norm_topk_prob: bool = Field(
        True, description="Divide a token's expert weights by their sum before scaling."
    )
    routed_scaling_factor: float = Field(
        2.446, description="Factor on the expert weights (OpenSeek-Small: 2.446).", gt=0
    )
    scoring_func: Literal["sigmoid"] = Field("sigmoid", description="Affinity of token and expert.")
    num_attention_heads: int = Field(4, description="Attention heads.", gt=0)
    q_lora_rank: int | None = Field(
        None, description="Rank of the query's latent; null: queries are projected directly.", gt=0
    )
    kv_lora_rank: int = Field(64, description="Rank of the latent of keys and values.", gt=0)
    qk_nope_head_dim: int = Field(
        32, description="Dimensions of a query or key head without rotary positions.", gt=0
    )
    qk_rope_head_dim: int = Field(
        32, description="Dimensions of a query or key head with rotary positions (even).", gt=0
    )
    v_head_dim: int = Field(64, description="Dimensions of a value head.", gt=0)
    rope_theta: float = Field(1e4, description="Base of the rotary frequencies.", gt=1)
    rope_scaling: YarnConfig | None = Field(None, description="YaRN; null: plain rotary positions.")
    rms_norm_eps: float = Field(
        1e-6, description="Epsilon of the layers' norms; the latents' norms always use 1e-6.", gt=0
    )
    tie_word_embeddings: bool = Field(
        False, description="Use the embedding as the output layer (OpenSeek-Small ties)."
    )
    initializer_range: float = Field(
        0.006, description="Standard deviation of the initial weights (DeepSeek-V3: 0.006).", gt=0
    )
    max_position_embeddings: Count = Field(4096, description="Longest sequence, in tokens.", gt=0)
    mtp: MtpConfig = Field(default_factory=MtpConfig, description="Multi-token prediction.")
    balance: BalanceConfig = Field(
        default_factory=BalanceConfig, description="Balance of the experts' load."
    )
    attention: Literal["auto", "sdpa", "chunked"] = Field(
        "auto",
        description="Attention kernel: torch's SDPA with V padded to the keys' width, or query "
        "chunks with a plain softmax (1.4 times as fast on a CPU); auto chooses by device.",
    )
    experts: Literal["grouped", "loop"] = Field(
        "grouped", description="Expert kernel: one grouped matrix product, or a loop (reference)."
    )
    activation_checkpointing: bool = runtime(
        False, "Recompute each layer in the backward pass: less memory, about a third more time."
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not data.get("preset"):
            return data
        name = data["preset"]
        if name not in PRESETS:
            raise ValueError(f"no model preset {name!r}; there are: {', '.join(PRESETS)}")
        return _merge(PRESETS[name], data)

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError(
                f"first_k_dense_replace={self.first_k_dense_replace} exceeds "
                f"num_hidden_layers={self.num_hidden_layers}: lower it"
            )
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"qk_rope_head_dim={self.qk_rope_head_dim} is odd: make it even")
        if self.n_routed_experts % self.n_group:
            raise ValueError(
                f"n_routed_experts={self.n_routed_experts} is no multiple of "
                f"n_group={self.n_group}: change one of them"
            )
        per_group = self.n_routed_experts // self.n_group
        if self.topk_group > self.n_group:
            raise ValueError(f"topk_group={self.topk_group} exceeds n_group={self.n_group}")
        if self.n_group > 1 and per_group < 2:
            raise ValueError(
                f"n_group={self.n_group} leaves {per_group} expert a group, but groups are ranked "
                "by their two best experts: use fewer groups"
            )
        if self.num_experts_per_tok > per_group * self.topk_group:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} exceeds the "
                f"{per_group * self.topk_group} experts of topk_group={self.topk_group} groups: "
                "lower it or raise topk_group"
            )
        return self

    @property
    def qk_head_dim(self) -> int:
        """Width of a query or key head."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    def is_dense(self, layer: int) -> bool:
        """Tell whether a decoder layer has a dense feed-forward."""
        return layer < self.first_k_dense_replace

    def with_vocab(self, tokens: int) -> ModelConfig:
        """Return a copy for a tokenizer of `tokens` entries, if no vocabulary size was set.

        Raises:
            ValueError: A size was set and is too small for the tokenizer.
        """
        padded = -(-tokens // 64) * 64
        if self.vocab_size and self.vocab_size < tokens:
            raise ValueError(
                f"vocab_size={self.vocab_size} is too small for a tokenizer of {tokens} entries: "
                f"set {padded}, or 0 to follow the tokenizer"
            )
        return self.model_copy(update={"vocab_size": self.vocab_size or padded})


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Section):
            value = value.model_dump()
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


class ExportConfig(Section):
    """The Hugging Face folder that a run ends in."""

    dtype: Literal["stored", "bfloat16", "float32"] = Field(
        "bfloat16",
        description="Type of the exported weights (stored: as the model has them); router biases "
        "are always float32.",
    )
    fp8: bool = Field(
        False,
        description="Store linear layers as FP8 (e4m3, a scale for each 128x128 block, as "
        "DeepSeek-V3 does); embedding, output layer, norms, router and eh_proj keep `dtype`. For "
        "engines with FP8 kernels.",
    )
    mtp: bool = Field(
        False,
        description="Export the MTP layers too, as layers after the last one (for engines that "
        "draft with them; transformers ignores them).",
    )
    stacked_experts: bool = Field(
        False,
        description="Store a layer's experts as two 3-D tensors, as transformers 5 has them in "
        "memory, not as a matrix each (which every engine reads).",
    )
    vocab_size: int = Field(
        0, description="Cut padding rows of the vocabulary off, down to this size. 0: keep.", ge=0
    )
    max_shard_bytes: Bytes = Field(
        5_000_000_000,
        description="Largest file of weights; more is split, with an index.",
        gt=0,
    )
    parity_sequences: int = Field(
        8, description="Random sequences whose logits are compared with transformers'.", gt=0
    )
    parity_length: int = Field(64, description="Tokens of each of them.", gt=1)
    parity_tolerance: float = Field(
        1e-4,
        description="Largest absolute difference of a logit in fp32 (rounding alone gives 1e-5).",
        gt=0,
    )

    @model_validator(mode="after")
    def _check(self) -> ExportConfig:
        if self.fp8 and self.stacked_experts:
            raise ValueError("fp8 quantises experts one by one: set stacked_experts to false")
        return self
