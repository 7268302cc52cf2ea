from __future__ import annotations

import numpy as np
import pytest
from synthesis_small import ENGLISH

from openseek.config.synthesis import VerificationConfig
from openseek.synthesis import NearDuplicates, Row, check_row
from openseek.synthesis.verification import copy_share, leans_on_text

CONFIG = VerificationConfig()
QUERY = "Why do the deep basins of the Baltic Sea lose their oxygen?"
ANSWER = "Salt water rarely reaches them, and dead algae use up what there is."
STEPS = ("Rivers dilute it.", "Inflows are rare.", "So oxygen runs out.")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Row(QUERY, ANSWER), ""),
        (Row(QUERY, ANSWER, STEPS), ""),
        (Row("Why?", ANSWER), "query_length"),
        (Row("Why " * 200, ANSWER), "query_length"),
        (Row(QUERY, "Salt."), "answer_length"),
        (Row(QUERY, ANSWER, STEPS[:2]), "too_few_steps"),
        (Row(QUERY, "salt " * 9000), "too_long"),
        (Row("According to the passage, why is there no oxygen?", ANSWER), "query_leans_on_text"),
        (Row(QUERY, QUERY), "answer_is_query"),
        (Row(QUERY, ENGLISH[60:400]), "copied"),
    ],
)
def test_every_rejection_has_one_reason(row: Row, reason: str) -> None:
    assert check_row(row, ENGLISH, "en", CONFIG, copies=False) == reason


def test_a_teacher_that_copies_by_nature_is_not_blamed_for_it_unless_asked() -> None:
    row = Row(QUERY, ENGLISH[60:400])
    assert check_row(row, ENGLISH, "en", CONFIG, copies=True) == ""
    strict = VerificationConfig(check_copy_extractive=True)
    assert check_row(row, ENGLISH, "en", strict, copies=True) == "copied"


@pytest.mark.parametrize(
    ("query", "lang", "leans"),
    [
        ("What does the author say about salt?", "en", True),
        ("What is it made of?", "en", True),
        ("Which figure is shown above?", "en", True),
        ("What is the salinity of the Baltic Sea?", "en", False),
        ("What is a text editor?", "en", False),
        ("Why is it that the salinity is low?", "en", False),
        ("本文的主要观点是什么？", "zh", True),
        ("如果它缺水，会怎么样？", "zh", True),
        ("什么是光合作用？", "zh", False),
    ],
)
def test_queries_must_stand_alone(query: str, lang: str, leans: bool) -> None:
    assert leans_on_text(query, lang) is leans


def test_copy_share_counts_n_grams() -> None:
    words = [f"w{i}" for i in range(40)]
    document = " ".join(words)
    assert copy_share(" ".join(words[5:25]), document, 8) == 1.0
    assert copy_share("fresh words that nobody wrote before in this place", document, 8) == 0.0
    half = " ".join(words[:15] + [f"x{i}" for i in range(8)])
    assert copy_share(half, document, 8) == pytest.approx(8 / 16)
    assert copy_share("", document, 8) == 0.0


def test_near_duplicates_agree_with_a_naive_comparison() -> None:
    """Edited copies at several distances: found where the true Jaccard similarity says so."""
    rng = np.random.default_rng(7)
    texts: list[str] = []
    for _ in range(40):
        words = [f"w{n}" for n in rng.integers(0, 300, 60)]
        texts.append(" ".join(words))
        for edits in (1, 2, 8, 20):
            copy = list(words)
            for at in rng.integers(0, 60, edits):
                copy[at] = f"v{at}"
            texts.append(" ".join(copy))
    duplicates, kept, wrong = NearDuplicates(0.8), list[set[tuple[str, ...]]](), 0
    for text in texts:
        words = text.split()
        shingles = {tuple(words[i : i + 3]) for i in range(len(words) - 2)}
        similar = any(len(shingles & k) >= 0.8 * len(shingles | k) for k in kept)
        found = duplicates.seen(text)
        wrong += found != similar
        if not found:
            kept.append(shingles)
    assert wrong <= 1  # MinHash bands may miss one in some hundred, and never find too many
    assert len(kept) < len(texts)
