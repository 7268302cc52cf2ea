from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quality_small import CHINESE, PROSE, Serial, context, corpus, digests, write_shards

from openseek.config.quality import FluencyConfig, QualityConfig, TransformerScorerConfig
from openseek.errors import ConfigError
from openseek.quality.heuristic import pack
from openseek.quality.scorers import build_scorer
from openseek.quality.step import score
from openseek.quality.transformer import causal_bits_per_char

TEXTS = [PROSE, "the cache", "", CHINESE, PROSE[:80], "  "]


def save_tokenizer(folder: Path, **special: str) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *sorted(set(PROSE.split()))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", **special
    ).save_pretrained(folder)
    return len(words)


def classifier(folder: Path, labels: int) -> str:
    """A random BERT of a few thousand parameters with a word-level tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    size = save_tokenizer(folder, pad_token="[PAD]")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64, num_labels=labels,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("causal")
    size = save_tokenizer(folder)
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=[1, 6])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return classifier(tmp_path_factory.mktemp("classifier"), request.param)


def section(model: str, **given: Any) -> TransformerScorerConfig:
    fields = {"name": "edu", "max_tokens": 32, "low": -5} | given
    return TransformerScorerConfig(kind="transformer", model=model, **fields)


class TestClassifiers:
    def test_scores_are_alike_in_any_batch_and_order(self, model: str) -> None:
        whole = build_scorer(section(model, batch_size=8)).score_buffer(*pack(TEXTS))
        single = build_scorer(section(model, batch_size=1)).score_buffer(*pack(TEXTS[::-1]))
        assert np.allclose(whole, single[::-1], atol=1e-5)
        assert len(set(whole.tolist())) > 2
        assert whole[2] == whole[5] == -5

    def test_scores_are_clamped_to_the_rubric(self, model: str) -> None:
        scores = build_scorer(section(model, low=4.5)).score_buffer(*pack(TEXTS))
        assert scores.min() == 4.5

    def test_several_outputs_give_their_expected_class(self, tmp_path: Path) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = classifier(tmp_path, 6)
        scores = build_scorer(section(folder)).score_buffer(*pack([PROSE]))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        batch = tokenizer(PROSE, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            logits = AutoModelForSequenceClassification.from_pretrained(folder).eval()(**batch)
        wanted = logits.logits.softmax(-1)[0] @ torch.arange(6.0)
        assert scores[0] == pytest.approx(float(wanted), abs=1e-5)


class TestPerplexity:
    def test_bits_are_those_of_the_model_one_text_at_a_time(self, causal: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        config = FluencyConfig(model=causal, max_tokens=48, batch_size=3)
        bits = causal_bits_per_char(*pack([PROSE[:150], "a loop", "", CHINESE[:9]]), config)
        network = AutoModelForCausalLM.from_pretrained(causal).eval()
        ids = AutoTokenizer.from_pretrained(causal)(PROSE[:150], return_tensors="pt").input_ids
        with torch.no_grad():
            mean = network(input_ids=ids, labels=ids).loss.item()
        wanted = mean * (ids.shape[1] - 1) / math.log(2) / len(PROSE[:150].rstrip())
        assert bits[0] == pytest.approx(wanted, rel=1e-4)
        assert bits[2] == 0
        assert np.isfinite(bits).all()

    def test_a_model_of_ones_own_can_be_the_filter(
        self, tmp_path: Path, serial: Serial, causal: str
    ) -> None:
        shards = {k: v[:20] for k, v in corpus().items()}
        files = write_shards(tmp_path / "in", shards)
        config = QualityConfig(fluency=FluencyConfig(model=causal, max_tokens=32))
        metrics = score(context(config, tmp_path / "out", documents=files))
        assert metrics["documents_out"] == metrics["documents_in"] == 80
        assert not [work for work in serial.ran if work[0] == "_count_shard"]


@pytest.mark.slow
@pytest.mark.ray
def test_on_ray_a_classifier_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openseek import compute
    from openseek.quality import fluency_pass, step

    folder = classifier(tmp_path / "model", 1)
    files = write_shards(tmp_path / "in", {k: v[:12] for k, v in corpus().items()})
    config = QualityConfig(scorers=(section(folder),))
    with monkeypatch.context() as patch:
        patch.setattr(step, "map_shards", Serial())
        patch.setattr(fluency_pass, "map_shards", Serial())
        score(context(config, tmp_path / "serial", documents=files))
    try:
        score(context(config, tmp_path / "ray", documents=files))
    finally:
        compute.shutdown()
    assert digests(tmp_path / "ray") == digests(tmp_path / "serial")


def test_a_missing_model_is_a_config_error_with_a_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Give a folder"):
        build_scorer(section(f"{tmp_path}/no"))
