from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from openseek.config.model import PRESETS, ModelConfig, MtpConfig
from openseek.errors import ConfigError
from openseek.model import build_model, count_parameters, flops_per_token
from openseek.model.config import from_hf_config, to_hf_config


@pytest.mark.parametrize(
    ("preset", "total", "active", "digits"),
    [
        ("openseek-small-v1", 1.3946, 0.3968, 4),
        ("openseek-mid", 15.9, 2.9, 1),
        ("deepseek-v3", 671, 37, 0),
    ],
)
def test_published_sizes(preset: str, total: float, active: float, digits: int) -> None:
    config = ModelConfig(preset=preset).model_copy(update={"mtp": MtpConfig()})
    model = build_model(config, device="meta")
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    used = sum(sizes.values()) - _unused(sizes, config)
    if preset == "deepseek-v3":  # the report's 37B does not count the embedding
        used -= sizes["model.embed_tokens.weight"]
    assert round(sum(sizes.values()) / 1e9, digits) == total
    assert round(used / 1e9, digits) == active


def _unused(sizes: dict[str, int], config: ModelConfig) -> int:
    """Weights of the routed experts that a token does not choose."""
    idle = config.n_routed_experts - config.num_experts_per_tok
    routed = sum(n for name, n in sizes.items() if ".experts." in name)
    return routed * idle // config.n_routed_experts


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_flops_equal_the_built_module(preset: str) -> None:
    """Count six a weight that multiplies a token, and the output layer once a depth."""
    config = ModelConfig(preset=preset).with_vocab(8000)
    model = build_model(config, device="meta")
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1}
    table = sizes.pop("model.embed_tokens.weight")
    sizes.pop("lm_head.weight", None)
    weights = sum(sizes.values()) - _unused(sizes, config) + (1 + len(model.mtp)) * table
    layers = len(model.model.layers) + len(model.mtp)
    heads = config.num_attention_heads * (config.qk_head_dim + config.v_head_dim)
    assert flops_per_token(config, 512) == 6 * weights + layers * 3 * 512 * heads
    assert count_parameters(config, mtp=True)[1] == sum(
        p.numel() for p in model.parameters()
    ) - _unused(sizes, config)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_counts_equal_the_built_module(preset: str) -> None:
    config = ModelConfig(preset=preset).with_vocab(8000)
    model = build_model(config, device="meta")
    assert count_parameters(config, mtp=True)[0] == sum(p.numel() for p in model.parameters())
    bare = config.model_copy(update={"mtp": config.mtp.model_copy(update={"depth": 0})})
    model = build_model(bare, device="meta")
    assert count_parameters(config)[0] == sum(p.numel() for p in model.parameters())


def test_active_equals_total_when_every_expert_is_used(small) -> None:
    total, active = count_parameters(small(num_experts_per_tok=16))
    assert total == active
    assert count_parameters(small(num_experts_per_tok=15))[1] == active - 2 * 3 * 64 * 32


def test_flops_follow_active_weights_and_length(small) -> None:
    config = small(tie_word_embeddings=True)
    # By hand: attention, one dense layer, two with 4 + 1 experts and a router; output layer.
    attention = 64 * 4 * 40 + 64 * 48 + 32 * 4 * 48 + 4 * 24 * 64
    weights = 3 * attention + 3 * 64 * 96 + 2 * (5 * 3 * 64 * 32 + 16 * 64) + 320 * 64
    assert flops_per_token(config, 100) == 6 * weights + 3 * 3 * 100 * 4 * (40 + 24)


def test_preset_values_yield_to_given_ones() -> None:
    config = ModelConfig.model_validate(
        {"preset": "openseek-small-v1", "num_hidden_layers": 2, "mtp": {"depth": 2}}
    )
    assert (config.num_hidden_layers, config.hidden_size) == (2, 1280)
    assert (config.mtp.depth, config.mtp.loss_weight) == (2, 0.3)
    spelt_out = ModelConfig.model_validate({**config.model_dump(), "preset": ""})
    assert spelt_out.identity() == config.identity()


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"preset": "gpt"}, "there are: demo"),
        ({"n_group": 3}, "no multiple of n_group=3"),
        ({"n_group": 4, "topk_group": 5}, "topk_group=5 exceeds"),
        ({"n_group": 4, "topk_group": 1, "num_experts_per_tok": 6}, "raise topk_group"),
        ({"n_group": 16, "topk_group": 8}, "use fewer groups"),
        ({"qk_rope_head_dim": 15}, "make it even"),
        ({"first_k_dense_replace": 9}, "lower it"),
        ({"rope_scaling": {"factor": 4, "mscale": 0.7, "mscale_all_dim": 0}}, "mscale_all_dim"),
        ({"n_experts": 3}, "Extra inputs"),
    ],
)
def test_impossible_combinations_say_the_mend(small, over, says) -> None:
    with pytest.raises(ValidationError, match=says):
        small(**over)


def test_vocabulary_follows_the_tokenizer() -> None:
    config = ModelConfig(preset="demo")
    with pytest.raises(ConfigError, match=r"model\.vocab_size"):
        build_model(config)
    assert config.with_vocab(8190).vocab_size == 8192
    assert config.with_vocab(8192).with_vocab(100).vocab_size == 8192
    with pytest.raises(ValueError, match="set 8256"):
        config.with_vocab(8192).with_vocab(8193)


@pytest.mark.parametrize("preset", ["openseek-small-v1", "deepseek-v3"])
def test_hf_config_round_trip(preset: str) -> None:
    config = ModelConfig(preset=preset)
    hf = to_hf_config(config, dtype="bfloat16", mtp=True, bos=1, eos=2, pad=None)
    back = from_hf_config(hf)
    shape = {"mtp", "balance"}  # training settings have no place in Hugging Face's config
    assert back.model_dump(exclude=shape | {"preset"}) == config.model_dump(
        exclude=shape | {"preset"}
    )
    assert back.mtp.depth == config.mtp.depth
    with pytest.raises(ConfigError, match="model_type"):
        from_hf_config({**hf, "model_type": "llama", "architectures": ["LlamaForCausalLM"]})


def test_counting_needs_no_torch() -> None:
    code = "import sys, openseek.config.model, openseek.model.config; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
