from __future__ import annotations

import pytest
from synthesis_small import ENGLISH

from openseek.config.verification import VerificationConfig
from openseek.synthesis import Row, check_row
from openseek.synthesis.verification.alone import leans_on_text
from openseek.synthesis.verification.copying import copy_share

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
        ("What does the function below return?", "en", True),
        ("How does the code given below sort?", "en", True),
        ("Which step of the proof above, if any, fails?", "en", True),
        ("Why does salt water stay below fresh water?", "en", False),
        ("How high above the sea is the lake?", "en", False),
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
