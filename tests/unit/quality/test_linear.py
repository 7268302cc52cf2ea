from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_small import CHINESE, PROSE

from openseek.config.labelling import ClassifierConfig
from openseek.config.quality import LinearScorerConfig
from openseek.errors import ConfigError, DataError
from openseek.quality import build_scorer
from openseek.quality.agreement import agreement, mean_ranks, spearman
from openseek.quality.heuristic import pack
from openseek.quality.kernels import tokenize
from openseek.quality.kernels.linear import buckets_of, room_for
from openseek.quality.linear import LinearModel, Sample, features_of, train

CONFIG = ClassifierConfig(bucket_bits=14, epochs=8)
WORDS = {
    0: ["cheap", "sale", "click", "winner", "casino", "优惠", "点击", "抽奖"],
    1: ["theorem", "proof", "lemma", "integral", "vector", "定理", "证明", "积分"],
}


def texts(n: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts of shared filler with a few words of their class."""
    random = np.random.default_rng(seed)
    grades = (np.arange(n) % 2).tolist()
    made = []
    for grade in grades:
        filler = [f"w{k}" for k in random.integers(0, 300, 30)]
        filler[3:3] = random.choice(WORDS[grade], 3).tolist()
        made.append(" ".join(filler))
    return made, grades


def trained(config: ClassifierConfig = CONFIG, seed: int = 7) -> LinearModel:
    return train(Sample.of(*texts(300, 1)), Sample.of(*texts(60, 2)), config, 2, seed)[0]


def buckets(text: str, config: ClassifierConfig) -> list[int]:
    buf, offsets = pack([text])
    shape = features_of(config)
    out = np.empty(room_for(offsets, shape), np.uint32)
    return out[: buckets_of(buf, 0, int(offsets[1]), shape, out)].tolist()


class TestFeatures:
    @given(st.text(max_size=80), st.sampled_from([(0, 0), (2, 3), (1, 8)]))
    @settings(max_examples=80)
    def test_any_text_stays_within_its_room(self, text: str, chars: tuple[int, int]) -> None:
        config = ClassifierConfig(
            bucket_bits=12, word_ngrams=5, cjk_ngrams=5, char_ngrams=chars, read_chars=50
        )
        found = buckets(text, config)
        assert all(0 <= b < 1 << 12 for b in found)

    @given(st.lists(st.sampled_from(["ab", "Cd", "光", "合", "x1"]), max_size=30))
    def test_words_and_their_ngrams_are_counted_once_each(self, tokens: list[str]) -> None:
        config = ClassifierConfig(bucket_bits=20, word_ngrams=2, cjk_ngrams=3)
        orders = [3 if "\u4e00" <= t <= "\u9fff" else 2 for t in tokens]
        wanted = sum(min(order, at + 1) for at, order in enumerate(orders))
        assert len(buckets(" ".join(tokens), config)) == wanted

    def test_single_words_hash_as_the_tokenizer_hashes_them(self) -> None:
        config = ClassifierConfig(bucket_bits=16, word_ngrams=1, cjk_ngrams=1)
        text = "Plants 光合作用 make sugar"
        buf, offsets = pack([text])
        hashes = tokenize(buf, 0, int(offsets[1]))[0]
        assert buckets(text, config) == (hashes & np.uint64(0xFFFF)).tolist()

    def test_order_matters_to_pairs_and_case_and_layout_do_not(self) -> None:
        assert sorted(buckets("red house", CONFIG)) != sorted(buckets("house red", CONFIG))
        assert buckets("Red  HOUSE", CONFIG) == buckets("red\nhouse", CONFIG)

    def test_character_ngrams_stay_inside_of_words(self) -> None:
        config = ClassifierConfig(bucket_bits=20, word_ngrams=1, char_ngrams=(3, 4))
        assert len(buckets("abcde", config)) == 1 + 3 + 2
        assert len(buckets("ab cd", config)) == 2

    def test_no_more_is_read_than_allowed(self) -> None:
        config = ClassifierConfig(bucket_bits=16, read_chars=16)
        assert buckets("0123456789 abcde fghij", config) == buckets("0123456789 abcde", config)


class TestTraining:
    def test_it_learns_what_tells_the_classes_apart(self) -> None:
        held, grades = texts(200, 3)
        guess = np.rint(trained().score(held))
        assert (guess == np.array(grades)).mean() > 0.97

    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first = trained().save(tmp_path / "a")
        second = trained().save(tmp_path / "b")
        assert all(first[n].read_bytes() == second[n].read_bytes() for n in first)

    def test_training_stops_when_validation_no_longer_improves(self) -> None:
        config = CONFIG.model_copy(update={"epochs": 50, "rate": 5.0})
        noise = Sample.of(texts(60, 2)[0], np.random.default_rng(1).integers(0, 2, 60).tolist())
        _, passes = train(Sample.of(*texts(100, 1)), noise, config, 2, 0)
        held = [p["validate"] for p in passes]
        assert len(passes) < 50
        assert int(np.argmin(held)) == len(held) - 1 - config.patience

    def test_nothing_to_learn_from_is_a_clear_error(self) -> None:
        with pytest.raises(DataError, match="Label more"):
            train(Sample.of([], []), Sample.of(["a"], [0]), CONFIG, 2, 0)

    def test_a_saved_model_scores_as_before(self, tmp_path: Path) -> None:
        model = trained()
        files = model.save(tmp_path)
        again = LinearModel.load(*files.values())
        assert np.array_equal(model.score([PROSE, CHINESE, ""]), again.score([PROSE, CHINESE, ""]))
        scorer = build_scorer(LinearScorerConfig(kind="linear", name="l", model=str(tmp_path)))
        assert np.array_equal(scorer.score_buffer(*pack([PROSE])), model.score([PROSE]))

    def test_a_damaged_or_foreign_model_is_a_config_error(self, tmp_path: Path) -> None:
        model, weights = trained().save(tmp_path).values()
        body = json.loads(model.read_text())
        model.write_text(json.dumps(body | {"features": 99}))
        with pytest.raises(ConfigError, match="features version 99"):
            LinearModel.load(model, weights)
        weights.write_bytes(b"torn")
        with pytest.raises(ConfigError, match="train-classifier"):
            LinearModel.load(model, weights)
        with pytest.raises(ConfigError, match="names no model"):
            build_scorer(LinearScorerConfig(kind="linear", name="l"))

    @given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
    @settings(max_examples=40)
    def test_scores_are_finite_and_independent_of_the_batch(self, some: list[str]) -> None:
        model = _model()
        whole = model.score(some)
        assert np.isfinite(whole).all()
        assert ((whole >= 0) & (whole <= 1)).all()
        assert np.array_equal(whole, np.concatenate([model.score([t]) for t in some]))


@cache
def _model() -> LinearModel:
    return trained()


class TestAgreement:
    def test_perfect_and_constant_scores(self) -> None:
        truth = np.array([0, 1, 2, 3, 4, 5])
        best = agreement(truth, truth.astype(float), 6, 3)
        assert (best["accuracy"], best["f1"], best["spearman"]) == (1.0, 1.0, 1.0)
        assert best["confusion"] == np.eye(6, dtype=int).tolist()
        flat = agreement(truth, np.full(6, 2.2), 6, 3)
        assert (flat["f1"], flat["spearman"], flat["accuracy"]) == (0.0, None, 0.1667)
        assert flat["accuracy_constant"] == 0.1667

    def test_known_values(self) -> None:
        truth = np.array([0, 3, 3, 5])
        told = agreement(truth, np.array([0.4, 2.4, 3.6, 7.0]), 6, 3)
        assert (told["precision"], told["recall"], told["f1"]) == (1.0, 0.6667, 0.8)
        assert told["within_one"] == 1.0
        assert sum(map(sum, told["confusion"])) == 4

    @given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.integers(0, 10**6))
    @pytest.mark.filterwarnings("ignore:An input array is constant")
    def test_rank_correlation_is_that_of_pandas(self, values: list[int], seed: int) -> None:
        import pandas as pd

        other = np.random.default_rng(seed).integers(0, 4, len(values))
        wanted = pd.Series(values).corr(pd.Series(other), method="spearman")
        found = spearman(np.array(values), other)
        assert (found is None) == bool(np.isnan(wanted))
        if found is not None:
            assert found == pytest.approx(wanted, abs=1e-4)
        assert mean_ranks(np.array(values)).tolist() == pd.Series(values).rank().tolist()
