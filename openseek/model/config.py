"""What follows from a `ModelConfig`: parameter and FLOP counts, Hugging Face's config and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openseek.config.model import ModelConfig
from openseek.errors import ConfigError

_SAME_NAME = (
    "vocab_size", "hidden_size", "num_hidden_layers", "first_k_dense_replace",
    "intermediate_size", "moe_intermediate_size", "n_routed_experts", "num_experts_per_tok",
    "n_shared_experts", "n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor",
    "scoring_func", "num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim",
    "qk_rope_head_dim", "v_head_dim", "rope_theta", "rms_norm_eps", "tie_word_embeddings",
    "initializer_range", "max_position_embeddings",
)  # fmt: skip


def _attention(config: ModelConfig) -> int:
    d, heads = config.hidden_size, config.num_attention_heads
    q_out = heads * config.qk_head_dim
    query = d * q_out
    if config.q_lora_rank is not None:
        query = config.q_lora_rank * (d + q_out)
    latent = d * (config.kv_lora_rank + config.qk_rope_head_dim)
    expand = config.kv_lora_rank * heads * (config.qk_nope_head_dim + config.v_head_dim)
    return query + latent + expand + heads * config.v_head_dim * d


def _norms(config: ModelConfig) -> int:
    return 2 * config.hidden_size + config.kv_lora_rank + (config.q_lora_rank or 0)


def _feed_forward(config: ModelConfig, dense: bool) -> tuple[int, int]:
    d = config.hidden_size
    if dense:
        both = 3 * d * config.intermediate_size
        return both, both
    expert = 3 * d * config.moe_intermediate_size
    always = config.n_routed_experts * d + config.n_shared_experts * expert
    total = always + config.n_routed_experts * expert
    return total, always + config.num_experts_per_tok * expert


def _matmul_parameters(config: ModelConfig, *, mtp: bool) -> tuple[int, int]:
    """Total and active weights of the layers' matrix products, without embedding and output."""
    total = active = 0
    for layer in range(config.num_hidden_layers):
        stored, used = _feed_forward(config, config.is_dense(layer))
        total += _attention(config) + stored
        active += _attention(config) + used
    if mtp:
        stored, used = _feed_forward(config, dense=False)
        combine = 2 * config.hidden_size**2
        total += config.mtp.depth * (_attention(config) + stored + combine)
        active += config.mtp.depth * (_attention(config) + used + combine)
    return total, active


def count_parameters(config: ModelConfig, *, mtp: bool = False) -> tuple[int, int]:
    """Count parameters in closed form: stored, and used by one token.

    Published sizes leave MTP out, as does the default; `mtp=True` equals the built module. The
    embedding counts as used in full; the router's biases are buffers and not counted.

    Args:
        config: The model, with `vocab_size` set.
        mtp: Count the MTP layers too.

    Returns:
        (total, active)
    """
    total, active = _matmul_parameters(config, mtp=mtp)
    tables = 1 if config.tie_word_embeddings else 2
    rest = config.vocab_size * config.hidden_size * tables + config.hidden_size
    rest += config.num_hidden_layers * _norms(config)
    if mtp:
        rest += config.mtp.depth * (_norms(config) + 3 * config.hidden_size)
    return total + rest, active + rest


def flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """Count the FLOPs of training on one token, forward and backward, MTP included.

    Six for each active weight of a matrix product (the embedding lookup has none, the output
    layer counts once a depth), and causal attention at half of T^2:
    `3 * T * heads * (d_qk + d_v)` a layer. Recomputed activations are not counted.

    Args:
        config: The model, with `vocab_size` set.
        sequence_length: Tokens a sequence.
    """
    depth = config.mtp.depth
    _, active = _matmul_parameters(config, mtp=True)
    active += (1 + depth) * config.vocab_size * config.hidden_size
    head = config.qk_head_dim + config.v_head_dim
    attention = 3 * sequence_length * config.num_attention_heads * head
    return float(6 * active + (config.num_hidden_layers + depth) * attention)


def to_hf_config(
    config: ModelConfig, *, dtype: str, mtp: bool, bos: int | None, eos: int | None, pad: int | None
) -> dict[str, Any]:
    """Write the `config.json` of transformers' DeepseekV3 (and of engines that read the same).

    Args:
        config: The model.
        dtype: Name of the weights' type, e.g. `bfloat16`.
        mtp: Whether the MTP layers are in the folder.
        bos: Id of the token that begins a document, if any.
        eos: Id of the token that ends a document, if any.
        pad: Id of the padding token, if any.
    """
    hf: dict[str, Any] = {name: getattr(config, name) for name in _SAME_NAME}
    hf |= {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": config.model_type,
        "hidden_act": config.hidden_act,
        "num_key_value_heads": config.num_attention_heads,
        "moe_layer_freq": 1,
        "topk_method": "noaux_tc",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rope_interleave": True,
        "num_nextn_predict_layers": config.mtp.depth if mtp else 0,
        "aux_loss_alpha": config.balance.seq_aux_weight,
        "seq_aux": True,
        "torch_dtype": dtype,
        "use_cache": True,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "rope_scaling": None,
    }
    if config.rope_scaling is not None:
        hf["rope_scaling"] = {
            "type": "yarn", "rope_type": "yarn", **config.rope_scaling.model_dump(),
        }  # fmt: skip
    return hf


def from_hf_config(hf: Mapping[str, Any]) -> ModelConfig:
    """Read the `config.json` of a DeepSeek-V3 model.

    Raises:
        ConfigError: The model is of another kind, or uses what this architecture has not.
    """
    known = hf.get("model_type") == ModelConfig.model_type
    # Models with code of their own (OpenSeek's) may be called otherwise, but name the architecture.
    if not known and "DeepseekV3ForCausalLM" not in (hf.get("architectures") or ()):
        raise ConfigError(
            f"model_type is {hf.get('model_type')!r}", where="config.json",
            mend="Only DeepSeek-V3 models (model_type deepseek_v3) can be read.",
        )  # fmt: skip
    if hf.get("attention_bias") or hf.get("rope_interleave") is False:
        raise ConfigError(
            "attention biases or rotary positions that are not interleaved", where="config.json",
            mend="Only DeepSeek-V3's own layout can be read.",
        )  # fmt: skip
    fields = {name: hf[name] for name in _SAME_NAME if name in hf}
    rope = dict(hf.get("rope_parameters") or {})  # transformers >= 5 keeps all of it here
    if "rope_theta" in rope:
        fields["rope_theta"] = rope["rope_theta"]
    scaling = dict(hf.get("rope_scaling") or rope)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "yarn":
        known = (
            "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "mscale",
            "mscale_all_dim",
        )  # fmt: skip
        fields["rope_scaling"] = {"mscale": 1.0, "mscale_all_dim": 0.0} | {
            k: scaling[k] for k in known if scaling.get(k) is not None
        }
    elif kind != "default":
        raise ConfigError(f"rope_scaling of type {kind!r}", where="config.json", mend="Use YaRN.")
    fields["mtp"] = {"depth": int(hf.get("num_nextn_predict_layers") or 0)}
    return ModelConfig.model_validate(fields)
