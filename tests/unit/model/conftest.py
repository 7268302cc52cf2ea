"""Small models, and a tokenizer folder to export with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from openseek.config.model import ModelConfig
from openseek.model import OpenSeekModel, build_model

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SMALL: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 3, "first_k_dense_replace": 1,
    "intermediate_size": 96, "moe_intermediate_size": 32, "n_routed_experts": 16,
    "num_experts_per_tok": 4, "n_shared_experts": 1, "num_attention_heads": 4, "kv_lora_rank": 32,
    "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 24, "initializer_range": 0.15,
    "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small() -> Callable[..., ModelConfig]:
    return lambda **over: ModelConfig.model_validate(SMALL | over)


@pytest.fixture
def make(small: Callable[..., ModelConfig]) -> Callable[..., OpenSeekModel]:
    """Build a small model whose router biases are not zero, so that they matter."""

    def build(seed: int = 1, dtype: torch.dtype = torch.float32, **over: Any) -> OpenSeekModel:
        model = build_model(small(**over), seed=seed, dtype=dtype)
        generator = torch.Generator().manual_seed(7)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0, 0.3, generator=generator)
        return model

    return build


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("tokenizer")
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2, **{f"w{i}": i for i in range(3, 300)}}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "pad_token": "<pad>",
        "eos_token": {"__type": "AddedToken", "content": "</s>", "special": True},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>"}))
    return folder


@pytest.fixture
def tokens() -> Callable[..., torch.Tensor]:
    def draw(rows: int, length: int, seed: int = 0, low: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(low, SMALL["vocab_size"], (rows, length), generator=generator)

    return draw
