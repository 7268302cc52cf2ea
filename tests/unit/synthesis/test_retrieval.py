from __future__ import annotations

import random
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_small import CHINESE, CODE, ENGLISH

from openseek.artifacts.folder import FolderFiles
from openseek.config.recipes import RetrievalConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import DataError
from openseek.synthesis.retrieval import (
    build_index,
    choose_passages,
    cut_passages,
    open_library,
    terms,
    write_index,
)

_WORDS = "salt sea river lake cod algae oxygen basin water ice wind storm 湖泊 洪水 长江"
WORDS = _WORDS.split()


def corpus(folder: Path, shards: int) -> FolderFiles:
    folder.mkdir()
    rows = [
        make_document(
            f"{text}\n\nNumber {i}.", source="s", category="foundation", lang="en", license="x",
            origin=str(i),
        )
        for i, text in enumerate([ENGLISH, CHINESE, CODE] * 4)
    ]  # fmt: skip
    for i in range(shards):
        write_documents(folder / f"s-{i:05d}.parquet", rows[i::shards])
    return FolderFiles(folder)


class TestTerms:
    def test_words_numbers_and_pairs_of_characters(self) -> None:
        assert terms("The cod's 3.5 Kilo, 湖泊面积!") == [
            "the",
            "cod's",
            "3.5",
            "kilo",
            "湖泊",
            "泊面",
            "面积",
        ]
        assert terms("湖 x") == ["湖", "x"]
        assert terms("") == []


class TestPassages:
    @given(st.text("ab. \n。湖", max_size=300), st.integers(10, 60))
    @settings(max_examples=80, deadline=None)
    def test_pieces_are_bounded_and_hold_the_text(self, text: str, most: int) -> None:
        pieces = cut_passages(text, most)
        assert all(0 < len(p) <= most for p in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())

    def test_the_cap_is_a_fair_draw_whatever_the_shards(self, tmp_path: Path) -> None:
        few = RetrievalConfig(passage_chars=200, max_passages=9)
        one = choose_passages(corpus(tmp_path / "a", 1), few, seed=1)
        four = choose_passages(corpus(tmp_path / "b", 4), few, seed=1)
        assert one == four
        assert len(one) == 9
        assert choose_passages(corpus(tmp_path / "c", 2), few, seed=2) != one
        all_ = choose_passages(corpus(tmp_path / "d", 2), RetrievalConfig(passage_chars=200), 1)
        assert all_[:9] == one


class TestIndex:
    def test_scores_are_those_of_bm25s(self) -> None:
        rng = random.Random(4)
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for _ in range(60)]
        ours = build_index(texts, RetrievalConfig())
        theirs = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        theirs.index([terms(t) for t in texts], show_progress=False)
        for query in ("salt river", "洪水 cod", "oxygen", "湖泊长江 wind ice"):
            expected = theirs.get_scores(terms(query))
            found = dict(ours.search(query, len(texts)))
            assert [found.get(i, 0.0) for i in range(len(texts))] == pytest.approx(
                expected.tolist(), rel=1e-4
            )
            ranked = [score for _, score in ours.search(query, 10)]
            assert ranked == sorted(ranked, reverse=True)

    def test_ties_and_unknown_words(self) -> None:
        index = build_index(["same text", "same text", "other"], RetrievalConfig())
        assert [i for i, _ in index.search("same", 2)] == [0, 1]
        assert index.search("unknown", 3) == []
        assert build_index([], RetrievalConfig()).search("x", 1) == []

    def test_a_library_is_written_and_found_again(self, tmp_path: Path) -> None:
        index, passages = tmp_path / "i.npz", tmp_path / "p.parquet"
        files = corpus(tmp_path / "docs", 2)
        count = write_index(files, RetrievalConfig(passage_chars=200), 0, index, passages)
        library = open_library(str(index), str(passages))
        assert library.index.count == count
        assert "湖" in library.search("湖泊调节洪水", 1)[0].text
        assert "salinity" in library.search("salinity of the Baltic", 2)[0].text
        again = tmp_path / "j.npz"
        write_index(files, RetrievalConfig(passage_chars=200), 0, again, tmp_path / "q.parquet")
        assert again.read_bytes() == index.read_bytes()
        assert np.all(library.index.scores_E > 0)

    def test_other_files_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="retrieval index"):
            open_library(str(tmp_path / "none.npz"), "")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no passage"):
            write_index(
                FolderFiles(tmp_path / "empty"),
                RetrievalConfig(),
                0,
                tmp_path / "i",
                tmp_path / "p",
            )
