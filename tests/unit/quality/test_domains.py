from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_small import CHINESE

from openseek.config.quality import DomainsConfig
from openseek.errors import ConfigError
from openseek.quality.domains import GENERAL, label_domains, load_lexicon
from openseek.quality.heuristic import pack

CONFIG = DomainsConfig()
SAMPLES = {
    "medicine": "The patient came to the hospital with chronic symptoms; after a diagnosis "
    "of diabetes the physician began treatment with insulin and watched the blood pressure.",
    "law": "The plaintiff filed a lawsuit, the defendant appealed, and the supreme court held that "
    "the statute gave it jurisdiction; the attorney cited an amendment.",
    "mathematics": "By the lemma, every polynomial over a finite field splits; the proof of the "
    "theorem needs a determinant, and the corollary follows for each integer matrix.",
    "sports": "The goalkeeper saved the championship: the coach and each athlete of the league "
    "celebrated in the stadium after the tournament.",
    "code": "def main(args): use a lambda, call malloc in the compiler, print to stderr, parse "
    "json and yaml, then fix the traceback in the unittest of the repository.",
}


def label(*texts: str, config: DomainsConfig = CONFIG) -> list[str]:
    return label_domains(*pack(texts), config)


class TestLabels:
    @pytest.mark.parametrize("domain", SAMPLES)
    def test_plain_cases(self, domain: str) -> None:
        assert label(SAMPLES[domain]) == [domain]

    def test_chinese_is_read_by_characters(self) -> None:
        assert label(
            CHINESE + "实验室里观察细菌和蛋白质的化学反应，光谱显示分子与原子的变化。"
        ) == ["science"]
        assert label("原告向法院提起诉讼，被告的律师不服判决，提出上诉，法官引用了宪法条款。") == [
            "law"
        ]

    def test_one_word_repeated_is_no_evidence(self) -> None:
        assert label("theorem " * 500) == [GENERAL]

    def test_two_subjects_in_balance_are_general(self) -> None:
        assert label(f"{SAMPLES['medicine']} {SAMPLES['law']}") == [GENERAL]

    def test_no_more_is_read_than_allowed(self) -> None:
        config = DomainsConfig(read_chars=64)
        assert label("word " * 40 + SAMPLES["law"], config=config) == [GENERAL]

    @given(st.lists(st.text(max_size=60), max_size=5))
    def test_any_text_gets_one_label_whatever_the_batch(self, texts: list[str]) -> None:
        whole = label(*texts)
        assert whole == [name for text in texts for name in label(text)]
        assert set(whole) <= {*load_lexicon().domains, GENERAL}


class TestLexicon:
    def test_every_domain_has_words_of_both_languages(self) -> None:
        lexicon = load_lexicon()
        assert len(lexicon.domains) >= 15
        counts = [int((lexicon.topics == i).sum()) for i in range(len(lexicon.domains))]
        assert min(counts) >= 40

    def test_one_of_ones_own_takes_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("tea: {en: 'oolong, green tea', zh: 乌龙茶}\ncars: {en: 'engine'}\n")
        config = DomainsConfig(lexicon=str(path), min_evidence=1)
        texts = ["Oolongs and green TEA", "乌龙茶", "an engine", "nothing"]
        assert label(*texts, config=config) == ["tea", "tea", "cars", GENERAL]

    @pytest.mark.parametrize("body", ["- a\n- b\n", "a: [1", "a: 3\n"])
    def test_a_file_of_another_shape_is_a_clear_error(self, tmp_path: Path, body: str) -> None:
        path = tmp_path / "bad.yaml"
        path.write_text(body)
        with pytest.raises(ConfigError, match="Write YAML"):
            label("text", config=DomainsConfig(lexicon=str(path)))
