import json
import re
import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.cleaning import tokens as tokens_module
from openseek.cleaning.looks import look_at
from openseek.cleaning.scan import TOKENS_CRC
from openseek.cleaning.stats import document_stats, scan

PLAIN = st.text(st.sampled_from("ab1. \n-#中文é。"), max_size=120)


def one(text: str) -> dict[str, float]:
    return {k: float(v[0]) for k, v in document_stats([text]).items()}


def tokens(text: str) -> list[str]:
    """Put the tokens back together from their lengths."""
    found, place = [], 0
    for width in scan(look_at([text.encode()]), han_words=False).token_chars:
        while text[place].isspace():
            place += 1
        found.append(text[place : place + width])
        place += width
    assert not text[place:].strip()
    return found


def test_tokens_are_those_of_spacy() -> None:
    golden = json.loads((Path(__file__).parent / "spacy_tokens.json").read_text("utf-8"))
    assert [tokens(text) for text in golden] == list(golden.values())


def test_the_pass_changes_with_the_file_it_draws_on() -> None:
    crc = zlib.crc32(Path(tokens_module.__file__).read_bytes())
    assert crc == TOKENS_CRC, f"set TOKENS_CRC of scan.py to {crc:#010x}"


@given(PLAIN)
def test_counts_match_a_naive_reference(text: str) -> None:
    found = one(text)
    lines = [line for line in text.split("\n") if line.strip()]
    assert found["chars"] == len(text)
    assert found["bytes"] == len(text.encode())
    assert found["lines"] == len(lines)
    assert found["max_line_chars"] == max((len(line.rstrip()) for line in lines), default=0)
    everything = text.splitlines()
    bullets = sum(line.lstrip().startswith("-") for line in everything)
    assert found["bullet_lines"] == pytest.approx(bullets / max(1, len(everything)))
    terminal = sum(line.endswith((".", "。")) for line in lines)
    assert found["terminal_lines"] == pytest.approx(terminal / max(1, len(lines)))
    assert found["short_lines"] == sum(len(line) <= 30 for line in lines) / max(1, len(lines))
    cut = tokens(text)
    words = [t for t in cut if set(t) - set(".-#。")]
    if not scan(look_at([text.encode()])).chinese[0]:
        assert found["words"] == len(words)
        assert found["mean_word_chars"] == sum(map(len, words)) / max(1, len(words))
        alpha = sum(any(c.isalpha() for c in t) for t in cut)
        assert found["alpha_words"] == alpha / max(1, len(cut))


@given(st.lists(st.sampled_from(["red", "blue", "green"]), max_size=40), st.integers(2, 10))
def test_ngrams_match_a_naive_reference(words: list[str], size: int) -> None:
    text = " ".join(words)
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if size < 5:
        counts = Counter(grams)
        gram, n = counts.most_common(1)[0] if counts else ((), 0)
        expected = n * len(" ".join(gram))
        found = one(text)[f"top_{size}gram"]
    else:
        seen, expected, i = set(), 0, 0
        while i < len(grams):
            if grams[i] in seen:
                expected += len("".join(grams[i]))
                i += size
            else:
                seen.add(grams[i])
                i += 1
        found = one(text)[f"dup_{size}gram"]
    assert found == pytest.approx(min(1.0, expected / max(1, len(text))))


@given(st.lists(st.sampled_from(["one line", "another", ""]), max_size=12))
def test_repeated_lines_match_a_naive_reference(lines: list[str]) -> None:
    text = "\n".join(lines)
    pieces = re.split("\n+", text)
    repeated = [line for i, line in enumerate(pieces) if line in pieces[:i]]
    found = one(text)
    if text:
        assert found["dup_lines"] == pytest.approx(len(repeated) / len(pieces))
    assert found["dup_line_chars"] == pytest.approx(sum(map(len, repeated)) / max(1, len(text)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n",
        "x",
        "😀",
        "\ud800",
        "שלום עולם",
        "x" * 1_000_000,
        "same\n" * 5000,
        "中" * 9999,
    ],
)
def test_adversarial_texts_give_finite_shares(text: str) -> None:
    for name, value in one(text).items():
        assert value >= 0
        if name.startswith(("dup_", "top_")) or name.endswith("_lines"):
            assert value <= 1


def test_paragraphs_and_sentences() -> None:
    found = one(
        "First one. Second 1.5 one!\nstill first\n\nFirst one. Second 1.5 one!\nstill first"
    )
    assert found["dup_paragraphs"] == 0.5
    assert found["sentences"] == 5
    assert one("今天很好。明天呢？……好！")["sentences"] == 3


def test_a_batch_equals_its_texts_one_by_one() -> None:
    texts = ["the cat and the dog", "", "今天天气很好。" * 9, "a\nb\na", "\ud83d"]
    together = document_stats(texts)
    for i, text in enumerate(texts):
        alone = document_stats([text])
        assert {k: v[i] for k, v in together.items()} == {k: v[0] for k, v in alone.items()}
