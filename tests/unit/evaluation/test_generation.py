import json

import numpy as np
import pytest
import torch

from openseek.evaluation.computing import compute
from openseek.evaluation.generation import cut, generate_texts, generate_tokens
from openseek.evaluation.models import HuggingFaceModel, NativeModel, load_codec
from openseek.evaluation.samples import Sample
from openseek.model import build_model


@pytest.fixture(scope="module", params=["native", "hf"])
def model(request, model_config):
    torch.manual_seed(0)
    if request.param == "native":
        own = build_model(model_config, seed=3)
        with torch.no_grad():  # fresh weights are so small that one token wins everywhere
            for p in own.parameters():
                p.add_(0.3 * torch.randn_like(p))
        return NativeModel(own)
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
        initializer_range=0.4,
    )  # fmt: skip
    return HuggingFaceModel(LlamaForCausalLM(config))


def plainly(model, prompt, n):
    """Continue without a cache, alone."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(n):
            hidden = model.hidden(torch.tensor([tokens]))
            tokens.append(int(model.logits(hidden[0, -1:]).argmax()))
    return tokens[len(prompt) :]


def test_equal_to_generation_without_a_cache_token_by_token(model):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 512, n).tolist() for n in (3, 30, 11, 1, 30)]
    expected = [plainly(model, p, 12) for p in prompts]
    assert len({t for new in expected for t in new}) > 10
    assert generate_tokens(model, prompts, 12, lambda row, new: False) == expected
    # Rows end one after the other and leave the batch.
    ends = (2, 12, 5, 3, 12)
    found = generate_tokens(model, prompts, 12, lambda row, new: len(new) == ends[row])
    assert found == [new[:n] for new, n in zip(expected, ends, strict=True)]


def test_texts_end_before_their_stop_and_keep_to_their_length(model, tokenizer):
    codec = load_codec(tokenizer)
    codec.end = None
    prompts = ["The river follows", "The planet", "The engine repairs the garden. The"]
    free = [Sample("generate", p, stops=(), max_tokens=20) for p in prompts]
    whole = generate_texts(model, codec, free)
    assert [r["tokens"] for r in whole] == [20] * 3
    stops = tuple(sorted({r["output"][9] for r in whole}))
    stopped = generate_texts(
        model, codec, [Sample("generate", p, stops=stops, max_tokens=20) for p in prompts]
    )
    for r, w in zip(stopped, whole, strict=True):
        assert r["output"] == cut(w["output"], stops)
        assert r["tokens"] <= 20
    mixed = compute(
        model, codec, [*free, Sample("choice", "The", (" river", " engine"))], batch_tokens=64
    )
    assert [mixed[s.key] for s in free] == whole
    json.dumps(mixed)


def test_the_end_token_ends_and_a_long_prompt_loses_its_beginning(model, tokenizer):
    codec = load_codec(tokenizer)
    codec.end = None
    long = Sample("generate", "The river follows the engine. " * 40, max_tokens=6)
    (free,) = generate_texts(model, codec, [long])
    assert free["tokens"] == 6
    tokens = [*codec.prefix, *codec.encode([long.context])[0][-(128 - 6 - len(codec.prefix)) :]]
    new = generate_tokens(model, [tokens], 6, lambda row, new: False, codec.vocab_size)[0]
    codec.end = new[2]
    (ended,) = generate_texts(model, codec, [long])
    assert ended["tokens"] == new.index(new[2]) + 1


def test_stop_texts_cut_at_the_first():
    assert cut("a. b, c", (",", ".")) == "a"
    assert cut("abc", ("x",)) == "abc"
