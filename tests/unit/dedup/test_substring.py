from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openseek.config.substring import SubstringConfig
from openseek.dedup import find_substrings
from openseek.dedup.substring import without


def config(**fields) -> SubstringConfig:
    return SubstringConfig(
        **{"preset": "", "unit": "bytes", "min_length": 8, "snap": "character", **fields}
    )


def naive_marks(rows: list, length: int, keep: str) -> list[list[bool]]:
    """Mark the units of repeated windows by comparing all windows, quadratic in memory."""
    places = defaultdict(list)
    for d, row in enumerate(rows):
        for p in range(len(row) - length + 1):
            places[tuple(row[p : p + length])].append((d, p))
    cut = [[False] * len(row) for row in rows]
    kept = [[False] * len(row) for row in rows]
    for found in places.values():
        for i, (d, p) in enumerate(found if len(found) > 1 else []):
            table = kept if keep == "first" and i == 0 else cut
            table[d][p : p + length] = [True] * length
    return [
        [a and not b for a, b in zip(c, k, strict=True)] for c, k in zip(cut, kept, strict=True)
    ]


def cut_bytes(text: str, spans: np.ndarray) -> list[bool]:
    marks = np.zeros(len(text.encode()), np.bool_)
    for a, b in spans.tolist():
        marks[a:b] = True
    return marks.tolist()


PIECES = st.sampled_from(
    ["", "a", "ab", "the same words ", "天地玄黄", "😀", "שלום ", "aaaaaaaa", "x\n"]
)
TEXTS = st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=6)


@settings(max_examples=150)
@given(TEXTS, st.integers(8, 19), st.sampled_from(["first", "none"]))
@example(["a" * 300, "a" * 300], 8, "first")
@example(["", "a", "😀"], 8, "none")
@example(["ab" * 99 + "c" + "ab" * 99], 9, "first")
def test_the_same_bytes_as_a_naive_scan(texts: list[str], length: int, keep: str) -> None:
    found = find_substrings(texts, config(min_length=length, keep=keep))
    expected = naive_marks([list(t.encode()) for t in texts], length, keep)
    for text, cut, marks in zip(texts, found, expected, strict=True):
        assert cut.duplicated == sum(marks)
        ours = cut_bytes(text, cut.spans)
        if text.isascii():
            assert ours == marks
        assert all(m for m, o in zip(marks, ours, strict=True) if o)  # only shrunk
        without(text.encode(), cut.spans).decode()  # and still whole characters


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["sun", "moon", "天", "!", "é1"]), max_size=40), max_size=5),
    st.integers(8, 12),
)
def test_words_are_compared_without_their_spaces(rows: list[list[str]], length: int) -> None:
    spaces = [" ", "\n\n", " \t"]
    texts = [spaces[i % 3].join(row) for i, row in enumerate(rows)]
    found = find_substrings(texts, config(unit="words", min_length=length, keep="none"))
    expected = naive_marks(rows, length, "none")
    for text, cut, marks in zip(texts, found, expected, strict=True):
        left = without(text.encode(), cut.spans).decode().split()
        assert left == [w for w, m in zip(text.split(), marks, strict=True) if not m]


def test_random_text_of_two_letters_at_many_lengths() -> None:
    rng = np.random.default_rng(5)
    texts = ["".join(rng.choice(["a", "b"], n)) for n in (0, 1, 400, 400, 77)]
    for length in range(8, 40):
        for keep in ("first", "none"):
            found = find_substrings(texts, config(min_length=length, keep=keep))
            expected = naive_marks([list(t.encode()) for t in texts], length, keep)
            assert [cut_bytes(t, c.spans) for t, c in zip(texts, found, strict=True)] == expected


@pytest.mark.slow
def test_ten_megabytes_without_a_space() -> None:
    rng = np.random.default_rng(2)
    blob = rng.integers(97, 123, 5_000_000, dtype=np.uint8).tobytes().decode()
    same, twice = "a" * 10_000_000, blob * 2
    first, second = find_substrings([same, twice], SubstringConfig(preset="bytes-200"))
    assert first.duplicated == len(same) - 200
    assert second.spans.tolist() == [[5_000_000, 10_000_000]]
    assert second.duplicated == 5_000_000


def test_the_first_copy_of_everything_stays_whole() -> None:
    a, b, c = ("one two three four " * 3, "five six seven eight " * 3, "nine ten eleven " * 3)
    texts = [a + b, b + c, a + b + c]
    found = find_substrings(texts, config(min_length=20))
    left = [without(t.encode(), f.spans).decode() for t, f in zip(texts, found, strict=True)]
    assert left[0].startswith(a[:20])
    everything = "".join(left)
    for text in texts:
        for p in range(len(text) - 20):
            assert text[p : p + 20] in texts[0] + texts[1] + texts[2]
    assert len(everything) < len("".join(texts)) / 2


@pytest.mark.parametrize(
    ("snap", "left"),
    [
        ("character", "I saw unwer today\nand\n"),
        ("word", "I saw undersea tower today\nand\n"),
        ("line", "I saw undersea town by the old harbour bridge tower today\nand\n"),
    ],
)
def test_cuts_shrink_to_whole_words_or_lines(snap: str, left: str) -> None:
    first = "x dersea town by the old harbour bridge to y"
    second = "I saw undersea town by the old harbour bridge tower today\nand\n"
    found = find_substrings([first, second], config(min_length=20, snap=snap))[1]
    got = without(second.encode(), found.spans).decode()
    assert got == left


def test_whole_lines_are_cut() -> None:
    shared = "a line that is in both of the texts\nand one more of the same\n"
    texts = ["first " + shared, "other\n" + shared + "end"]
    found = find_substrings(texts, config(min_length=20, snap="line"))[1]
    assert without(texts[1].encode(), found.spans).decode() == "other\nend"


def test_presets() -> None:
    assert SubstringConfig().min_length == 800
    assert SubstringConfig(preset="tokens-50").unit == "words"
    assert SubstringConfig(preset="bytes-200", min_length=300).min_length == 300
    with pytest.raises(ValueError, match="bytes-800"):
        SubstringConfig(preset="bytes-9")
