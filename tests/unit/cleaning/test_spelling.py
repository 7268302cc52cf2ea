import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.cleaning import normalise
from openseek.cleaning.signs import signs_of
from openseek.cleaning.spelling import repair_mojibake
from openseek.config.cleaning import NormaliseConfig

CONFIG = NormaliseConfig()
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=200)


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    signs_of(["the first call compiles"], 2)


@pytest.mark.parametrize(
    ("text", "expected", "change"),
    [
        ("a\r\nb\rc\x0cd", "a\nb\nc\nd", "line_ends"),
        ("a  \nb\t\nc", "a\nb\nc", "line_ends"),
        ("a\x00b\x07c", "abc", "control"),
        ("\ufeffa\u200bb\u202ec", "abc", "control"),
        ("cafe\u0301", "café", "nfc"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb", "blank_lines"),
        ("It is a cafÃ© â€œhereâ€\x9d", "It is a café “here”", "mojibake"),
        ("\ud83d\ude00 and \ud800", "😀 and \ufffd", "surrogates"),
    ],
)
def test_each_repair(text: str, expected: str, change: str) -> None:
    repaired, changes = normalise(text, CONFIG)
    assert repaired == expected
    assert change in changes


@pytest.mark.parametrize(
    "text", ["", "plain\ttext\n", "naïve café — “ok”", "À é—", "👩‍👩‍👧 می‌خواهم", "中文，没有问题。"]
)
def test_good_text_is_left_alone(text: str) -> None:
    assert normalise(text, CONFIG) == (text, ())


@given(ANY_TEXT)
def test_a_second_time_changes_nothing(text: str) -> None:
    once, _ = normalise(text, NormaliseConfig(mojibake=False))
    assert normalise(once, NormaliseConfig(mojibake=False)) == (once, ())
    once.encode("utf-8")
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFF, exclude_categories=["C"])))
def test_mojibake_is_undone_exactly(text: str) -> None:
    broken = "".join(
        chr(b) if b in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([b]).decode("cp1252")
        for b in text.encode()
    )
    if "\n" not in broken and repair_mojibake(text) == text:
        assert repair_mojibake(broken) == text


def test_everything_can_be_switched_off() -> None:
    off = NormaliseConfig(
        nfc=False, control=False, line_ends=False, mojibake=False, max_blank_lines=1000
    )
    text = "e\u0301\r\n\x00 \n\n\n\n\n\nÃ©"
    assert normalise(text, off) == (text, ())


def test_a_long_run_of_spaces_is_quick() -> None:
    text = " " * 1_000_000 + "x \ny"
    assert normalise(text, CONFIG)[0] == " " * 1_000_000 + "x\ny"


WIDE = NormaliseConfig(width=True)
TELLING = st.text(
    "a \t\n\r\x0b\x0c\x00\x7f\x85\xa0\xc2\xc3\xe9\xf4\u0080\u20ac\u0301\u200b\u2028\ufeff中\uff21。"
)


@given(st.lists(st.one_of(ANY_TEXT, TELLING), min_size=1, max_size=4))
def test_signs_miss_no_repair(texts: list[str]) -> None:
    signs, _ = signs_of(texts, WIDE.max_blank_lines)
    for text, own in zip(texts, signs, strict=True):
        assert normalise(text, WIDE, own) == normalise(text, WIDE)


def test_signs_miss_no_character() -> None:
    texts = [f"x{chr(c)} y" for c in (*range(0x30000), *range(0xE0000, 0xE0200))]
    signs, _ = signs_of(texts, WIDE.max_blank_lines)
    silent = [text for text, own in zip(texts, signs, strict=True) if not own]
    assert len(silent) > 100_000
    assert all(normalise(text, WIDE) == (text, ()) for text in silent)


def test_most_texts_have_no_signs() -> None:
    texts = ["Plain lines.\n\nA “quoted” word – and naïve ones…", "中文，（全角标点）也没有问题。"]
    assert signs_of(texts, 2)[0] == [0, 0]
