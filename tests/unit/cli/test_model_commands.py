"""`openseek model import` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_shell import Shell
from safetensors.torch import load_file, save_file

from openseek.config.model import ModelConfig
from openseek.config.tokens import TokenizerConfig
from openseek.model import build_model, save_native
from openseek.tokens import train_bpe


@pytest.fixture
def native(home: Path) -> Path:
    """A folder of ours with its tokenizer beside the weights, as import leaves it."""
    shape = {
        "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96,
        "moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2,
        "num_attention_heads": 2, "kv_lora_rank": 32, "qk_nope_head_dim": 24,
        "qk_rope_head_dim": 16, "v_head_dim": 24, "initializer_range": 0.1,
    }  # fmt: skip
    save_native(build_model(ModelConfig.model_validate(shape), seed=1), home / "native")
    train_bpe(["a river does not hurry"] * 9, TokenizerConfig(vocab_size=300), home / "native")
    return home / "native"


def test_out_and_back(openseek: Shell, native: Path, home: Path) -> None:
    hf, back = home / "hf", home / "back"
    report = openseek(
        "model", "export", native, hf, "--set", "dtype=stored", "--set", "max_shard_bytes=100KB",
        "--json",
    ).json()  # fmt: skip
    assert report["max_abs_logit_diff"] < 2e-5
    assert json.loads((hf / "config.json").read_text())["eos_token_id"] is not None
    assert "not compared" in openseek("model", "export", native, home / "x", "--no-parity").out
    found = openseek("model", "import", hf, back, "--json").json()
    assert found["vocab_size"] == 320
    assert found["max_abs_logit_diff"] < 2e-5
    ours, again = (load_file(f / "model.safetensors") for f in (native, back))
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    assert (back / "tokenizer.json").read_bytes() == (native / "tokenizer.json").read_bytes()


def test_faults_name_the_tensor_and_the_mend(openseek: Shell, native: Path, home: Path) -> None:
    assert openseek("model", "export", native, home / "hf", "--no-parity").code == 0
    path = home / "hf" / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.input_layernorm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    failed = openseek("model", "import", home / "hf", home / "out")
    assert failed.code == 1
    assert "model.layers.1.input_layernorm.weight: expected [64], found nothing" in failed.err
    assert "config.json belongs to another model" in failed.err
    wrong = openseek("model", "export", native, home / "y", "--set", "fp9=true")
    assert wrong.code == 2
    assert "Keys of this section: dtype, fp8" in wrong.err
    taken = openseek("model", "export", native, native)
    assert taken.code == 2
    assert "empty this one" in taken.err
