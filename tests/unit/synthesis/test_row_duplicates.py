"""Exact and near duplicates among rows, against a naive comparison of all pairs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.synthesis.verification.duplicates import EXACT, NEAR, NearDuplicates


def find(texts: list[str], threshold: float = 0.8, pieces: int = 1) -> list[tuple[str, int, float]]:
    with TemporaryDirectory() as folder:
        duplicates = NearDuplicates(threshold, Path(folder))
        for part in np.array_split(np.arange(len(texts)), pieces):
            duplicates.add([texts[i] for i in part])
        return duplicates.repeats()


def naive(texts: list[str], threshold: float) -> list[str]:
    """Compare every text with every earlier one that was kept."""
    kept: list[tuple[list[str], set[tuple[str, ...]]]] = []
    found = []
    for text in texts:
        words = text.lower().split()
        grams = {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))} if words else set()
        if any(words == other for other, _ in kept):
            found.append(EXACT)
        elif any(grams and len(grams & g) >= threshold * len(grams | g) for _, g in kept):
            found.append(NEAR)
        else:
            found.append("")
            kept.append((words, grams))
    return found


def edited(seed: int, n: int = 40) -> list[str]:
    """Make texts, and copies of them at several distances."""
    rng = np.random.default_rng(seed)
    texts: list[str] = []
    for _ in range(n):
        words = [f"w{k}" for k in rng.integers(0, 300, 60)]
        texts += [" ".join(words), " ".join(words).upper()]
        for edits in (1, 2, 8, 20):
            copy = list(words)
            for at in rng.integers(0, 60, edits):
                copy[at] = f"v{at}"
            texts.append(" ".join(copy))
    return [texts[i] for i in rng.permutation(len(texts))]


def test_they_agree_with_a_naive_comparison() -> None:
    texts = edited(7)
    wrong = [a != b for (a, _, _), b in zip(find(texts), naive(texts, 0.8), strict=True)]
    assert sum(wrong) <= 2  # bands miss a pair in some hundred at the threshold, and find none more
    assert {EXACT, NEAR, ""} == {kind for kind, _, _ in find(texts)}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join), max_size=25),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.integers(1, 4),
)
def test_what_is_found_is_really_similar_and_pieces_change_nothing(
    texts: list[str], threshold: float, pieces: int
) -> None:
    found = find(texts, threshold)
    assert found == find(texts, threshold, pieces)
    for i, (kind, other, similarity) in enumerate(found):
        if kind:
            assert other < i
            assert not found[other][0]
            mine, theirs = texts[i].split(), texts[other].split()
            assert (kind == EXACT) == (mine == theirs)
            assert similarity >= threshold
    kept = [tuple(t.split()) for t, (kind, _, _) in zip(texts, found, strict=True) if not kind]
    assert len(kept) == len(set(kept))  # no exact duplicate is ever missed


def test_a_template_does_not_make_it_quadratic() -> None:
    """Thousands of rows share a band with one another and are no duplicates."""
    head = "what should one know about the subject that is called"
    tails = [" ".join(f"x{i}y{j}" for j in range(12)) for i in range(3000)]
    assert not any(kind for kind, _, _ in find([f"{head} {tail}" for tail in tails]))


def test_chinese_rows_and_rows_without_a_word() -> None:
    text = "长江是亚洲第一长河，干流由青藏高原流向东海，水能资源十分丰富。"
    kinds = [k for k, _, _ in find([text, "", text + "\n", "?!", text[:-1] + "很", "", "?!"])]
    assert kinds == ["", "", EXACT, "", NEAR, EXACT, EXACT]


def test_nothing_comes_of_nothing(tmp_path: Path) -> None:
    duplicates = NearDuplicates(0.8, tmp_path)
    duplicates.add([])
    assert duplicates.repeats() == []
