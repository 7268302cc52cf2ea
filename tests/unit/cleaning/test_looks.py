"""The look at a batch finds what the patterns of personal data need, and whose language it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openseek.cleaning.looks import Look, look_at

TELLING = st.text(alphabet="0123456 -.:+@af\n中１é", max_size=60)
PATTERNS = {
    "at_signs": r"@",
    "long_numbers": r"[0-9]{11}|[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}|[0-9]{3} [0-9]{4} [0-9]{4}",
    "dotted_numbers": r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+",
    "foreign_numbers": r"\+[0-9]|(?<![0-9])[0-9]{3}-[0-9]",
    "hex_colons": r"[23][0-9a-fA-F]{3}:",
}


def look(*texts: str) -> Look:
    return look_at([text.encode() for text in texts])


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    look("the first call compiles")


@given(st.lists(TELLING, min_size=1, max_size=4))
@example(["1", "2345678901", "+", "1", ".2.3.4"])
def test_what_a_pattern_can_find_is_never_missed(texts: list[str]) -> None:
    found = look(*texts)
    for name, pattern in PATTERNS.items():
        for text, count in zip(texts, found.counts[name].tolist(), strict=True):
            assert count or not re.search(pattern, text), (name, text)


@pytest.mark.parametrize(
    "text", ["2026-11-22", "3.14 and 2.72", "12:30 - 14:45", "a" * 4000, "0.1.2", "1 2 3 4 5 6 7 8"]
)
def test_plain_numbers_ask_for_nothing(text: str) -> None:
    counts = look(text).counts
    assert not any(counts[name][0] for name in PATTERNS)


@given(st.lists(TELLING, min_size=1, max_size=5))
def test_a_batch_is_its_texts(texts: list[str]) -> None:
    together = look(*texts).counts
    for i, text in enumerate(texts):
        assert {n: c[i] for n, c in together.items()} == {
            n: c[0] for n, c in look(text).counts.items()
        }


@given(st.text(alphabet="aé 的一是в日は0。", max_size=80))
def test_a_text_is_chinese_by_its_characters(text: str) -> None:
    han, kana = sum(c in "的一是日" for c in text), text.count("は")
    letters = sum(c in "aéв" for c in text)
    expected = han + kana > 0 and 2 * han > letters and 20 * kana < han
    assert bool(look(text).chinese[0]) == expected


def test_a_chinese_page_with_english_quotations_is_not_english() -> None:
    quotation = "This is the one that we have to be sure of, and with it the rest. "
    assert look(quotation * 4).english.all()
    assert not look(quotation * 4 + "這一頁還有別的內容可以讀。" * 4).english.any()


def test_only_the_beginning_tells_english() -> None:
    prose = b"That is the way to be with the people that we have to meet, and of that we are sure. "
    text = b"x" * 3000 + b" " + prose * 9
    assert not look_at([text]).english[0]
    assert look_at([text], head=len(text)).english[0]
