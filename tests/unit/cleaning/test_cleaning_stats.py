import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.cleaning.stats import document_stats

PLAIN = st.text(st.sampled_from("ab1. \n-#中文é。"), max_size=120)


def one(text: str, *, chinese: bool = False) -> dict[str, float]:
    return {k: float(v[0]) for k, v in document_stats([text], chinese=[chinese]).items()}


@given(PLAIN)
def test_counts_match_a_naive_reference(text: str) -> None:
    found = one(text)
    words = re.findall(r"[ab1é]+", text)
    han = sum(c in "中文" for c in text)
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    assert found["chars"] == len(text)
    assert found["bytes"] == len(text.encode())
    assert found["words"] == len(words) + han
    assert found["lines"] == len(lines)
    assert found["max_line_chars"] == max(map(len, lines), default=0)
    assert found["mean_word_chars"] == pytest.approx(sum(map(len, words)) / max(1, len(words)))
    bullets = sum(line.lstrip().startswith("-") for line in lines)
    assert found["bullet_lines"] == pytest.approx(bullets / max(1, len(lines)))
    terminal = sum(line.endswith((".", "。")) for line in lines)
    assert found["terminal_lines"] == pytest.approx(terminal / max(1, len(lines)))


@given(st.lists(st.sampled_from(["red", "blue", "green"]), max_size=40), st.integers(2, 10))
def test_ngrams_match_a_naive_reference(words: list[str], size: int) -> None:
    text = " ".join(words)
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if size < 5:
        counts = Counter(grams)
        gram, n = counts.most_common(1)[0] if counts else ((), 0)
        expected = n * len(" ".join(gram)) if n > 1 else 0
        found = one(text)[f"top_{size}gram"]
    else:
        seen, expected, i = set(), 0, 0
        while i < len(grams):
            if grams[i] in seen:
                expected += len(" ".join(grams[i]))
                i += size
            else:
                seen.add(grams[i])
                i += 1
        found = one(text)[f"dup_{size}gram"]
    assert found == pytest.approx(min(1.0, expected / max(1, len(text))))


@given(st.lists(st.sampled_from(["one line", "another", ""]), max_size=12))
def test_repeated_lines_match_a_naive_reference(lines: list[str]) -> None:
    text = "\n".join(lines)
    solid = [line for line in lines if line]
    repeated = [line for i, line in enumerate(solid) if line in solid[:i]]
    found = one(text)
    assert found["dup_lines"] == pytest.approx(len(repeated) / max(1, len(solid)))
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
    assert found["sentences"] == 4
    assert one("今天很好。明天呢？……好！", chinese=True)["sentences"] == 3


def test_a_batch_equals_its_texts_one_by_one() -> None:
    texts = ["the cat and the dog", "", "今天天气很好。" * 9, "a\nb\na", "\ud83d"]
    together = document_stats(texts)
    for i, text in enumerate(texts):
        alone = document_stats([text])
        assert {k: v[i] for k, v in together.items()} == {k: v[0] for k, v in alone.items()}
