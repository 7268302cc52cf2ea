import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.config.dedup import DedupConfig
from openseek.dedup import exact_digest, find_duplicates, minhash_signatures, true_jaccard
from openseek.dedup.duplicates import candidate_pairs
from openseek.dedup.graph import components, star_pairs
from openseek.dedup.kernels import band_keys, union_find
from openseek.dedup.minhash import keys_of_bands, pack, sign

WORDS = st.lists(st.sampled_from(["sun", "Moon", "star", "天", "地", "x1", "é"]), max_size=30)


def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[天地]|[A-Za-z0-9_é]+", text)
    words = [w.lower() if w.isascii() else w for w in words]
    if 0 < len(words) < n:
        return {tuple(words)}
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@given(WORDS, WORDS, st.integers(1, 6))
def test_jaccard_matches_sets(left: list[str], right: list[str], n: int) -> None:
    a, b = ", ".join(left), " ".join(right)
    x, y = shingles(a, n), shingles(b, n)
    expected = len(x & y) / len(x | y) if x | y else 0.0
    assert true_jaccard(a, b, n) == pytest.approx(expected)


def test_signatures_estimate_jaccard_without_bias() -> None:
    rng = np.random.default_rng(7)
    config = DedupConfig()
    errors = []
    for _ in range(60):
        a = rng.integers(0, 5000, 300).astype(str)
        b = np.where(rng.random(300) < rng.random() / 8, "other", a)
        pair = [" ".join(a), " ".join(b)]
        left, right = minhash_signatures(pair, config)
        true = true_jaccard(*pair)
        spread = max(1e-9, (true * (1 - true) / left.size) ** 0.5)
        errors.append(((left == right).mean() - true) / spread)
    assert abs(np.mean(errors)) < 4 / 60**0.5
    assert 0.6 < np.std(errors) < 1.4


def test_the_seed_is_all_that_changes_a_signature() -> None:
    texts = ["a b c d e f g", "", "😀"]
    first = minhash_signatures(texts, DedupConfig())
    assert (first == minhash_signatures(texts, DedupConfig())).all()
    assert (first[2] == minhash_signatures(texts[2:])[0]).all()
    assert (first[0] != minhash_signatures(texts, DedupConfig(seed=2))[0]).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 19)), max_size=30), st.integers(0, 3))
def test_pairs_are_with_the_first_and_the_ones_before(
    entries: list[tuple[int, int]], before: int
) -> None:
    expected = set()
    for key in range(5):
        bucket = sorted(node for k, node in entries if k == key)
        for i, node in enumerate(bucket):
            for other in (bucket[0], *bucket[max(0, i - before) : i]):
                if other != node:
                    expected.add((other, node))
    keys, nodes = (np.array([e[k] for e in entries], np.uint64) for k in (0, 1))
    found = [(int(a), int(b)) for a, b in star_pairs((keys,), nodes, before)]
    assert found == sorted(expected, key=lambda pair: pair[::-1])


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_union_find_matches_naive_components(edges: list[tuple[int, int]]) -> None:
    naive = list(range(20))
    for _ in range(20):
        for a, b in edges:
            naive[a] = naive[b] = min(naive[a], naive[b])
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    found = union_find(20, pairs[:, 0].copy(), pairs[:, 1].copy())
    assert found.tolist() == naive
    nodes, roots = components(pairs.astype(np.uint64))
    assert [int(nodes[r]) for r in roots] == [naive[int(n)] for n in nodes]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_star_pairs_connect_what_shares_a_key(rows: list[tuple[int, int]]) -> None:
    keys = np.array([k for k, _ in rows], np.uint64)
    nodes = np.array([n for _, n in rows], np.uint64)
    expected = {
        (min(n for k, n in rows if k == key), node)
        for key, node in rows
        if node != min(n for k, n in rows if k == key)
    }
    assert {(int(a), int(b)) for a, b in star_pairs([keys], nodes)} == expected


def sentence(rng: np.random.Generator, n: int) -> list[str]:
    return [f"w{i}" for i in rng.integers(0, 9000, n)]


def test_planted_duplicates_are_found_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    texts, copies = [], []
    for i in range(60):
        words = sentence(rng, 200)
        texts.append(" ".join(words))
        if i % 2:
            words[int(rng.integers(0, 190))] = "changed"
            copies.append((i, " ".join(words)))
    for verify in (True, False):
        found = find_duplicates(texts + [c for _, c in copies], DedupConfig(verify=verify))
        together = {frozenset(c) for c in found.clusters()}
        assert together == {frozenset({i, 60 + n}) for n, (i, _) in enumerate(copies)}


def test_near_chinese_and_case_and_spaces() -> None:
    text = (
        "今天天气很好，我们一起去公园里散步，看见了许多花和小鸟，大家都非常高兴，晚上才回家。" * 2
    )
    other = text.replace("小鸟", "小鱼", 1)
    found = find_duplicates([text, other, "Hello  big World", "hello big\nworld", "hello"])
    assert sorted(map(sorted, found.clusters())) == [[0, 1], [2, 3]]
    assert found.exact.tolist() == [False, False, False, True, False]


def test_another_grouping_of_the_same_hashes_finds_more_pairs_and_loses_none() -> None:
    rng = np.random.default_rng(3)
    texts = []
    for _ in range(200):
        words = sentence(rng, 200)
        texts += [" ".join(words), " ".join(w if rng.random() > 0.04 else "other" for w in words)]
    found = []
    for groupings in (1, 2, 3):
        config = DedupConfig(groupings=groupings)
        table, counts = sign(*pack(texts), config)
        keys = keys_of_bands(table, config)
        assert keys.shape == (400, 14 * groupings)
        nodes = np.arange(400, dtype=np.uint64)
        found.append({tuple(p) for p in candidate_pairs(table, counts, nodes, config).tolist()})
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("groupings", [1, 2])
def test_no_two_hashes_of_a_band_meet_again(groupings: int) -> None:
    bands, rows = 17, 8
    places = np.arange(bands * rows, dtype=np.uint32)
    met = np.zeros((places.size, places.size), int)
    base = band_keys(places[None], bands, rows, groupings)[0]
    changed = [
        set(np.flatnonzero(band_keys(np.where(places == i, 999, places)[None].astype(np.uint32),
                                     bands, rows, groupings)[0] != base))
        for i in places
    ]  # fmt: skip
    for i in places:
        for j in places[:i]:
            met[i, j] = len(changed[i] & changed[j])
    assert met.max() == 1
    assert all(len(c) == groupings for c in changed)


def test_verification_refuses_what_only_looks_alike() -> None:
    rng = np.random.default_rng(1)
    words = sentence(rng, 400)
    half = words[:280] + sentence(rng, 120)
    pair = [" ".join(words), " ".join(half)]
    loose = DedupConfig(bands=112, rows=1, verify=False)
    assert find_duplicates(pair, loose).removed.sum() == 1
    assert (
        find_duplicates(
            pair, loose.model_copy(update={"verify": True, "min_jaccard": 0.7})
        ).removed.sum()
        == 0
    )


def test_what_stays_depends_on_priority_length_and_id_only() -> None:
    long, short = "one two three four five six " * 9, "ONE two three four five six " * 8
    config = DedupConfig(priority=("books", "web"))

    def kept(texts: list[str], sources: list[str], ids: list[str]) -> str:
        found = find_duplicates(texts, config, ids=ids, sources=sources)
        turned = find_duplicates(texts[::-1], config, ids=ids[::-1], sources=sources[::-1])
        winner = ids[found.kept[0]]
        assert winner == ids[::-1][turned.kept[0]]
        return winner

    assert kept([long, short], ["web", "books"], ["a", "b"]) == "b"
    assert kept([short, long], ["web", "web"], ["a", "b"]) == "b"
    assert kept([long, long, long], ["x", "y", "x"], ["c", "a", "b"]) == "a"


def test_the_best_text_stays_not_the_longest() -> None:
    prose = "The cat sat on the mat and looked at the dog across the street.\n" * 12
    table = prose.replace("\n", "\n| 17 | 4,5 | == |\n", 3)
    texts, loose = [table, prose], {"min_jaccard": 0.3, "bands": 56, "rows": 2}
    assert find_duplicates(texts, DedupConfig(**loose)).kept.tolist() == [1, 1]
    longest = DedupConfig(prefer="longest", **loose)
    assert find_duplicates(texts, longest).kept.tolist() == [0, 0]
    first = DedupConfig(prefer="any", **loose)
    assert find_duplicates(texts, first).kept.tolist() == [0, 0]
    for scores, kept in (([0.9, 0.2], 0), ([0.9, None], 0), ([0.0, None], 0), ([0.2, 0.3], 1)):
        found = find_duplicates(texts, DedupConfig(**loose), scores=scores)
        assert found.kept.tolist() == [kept, kept]


def test_digests_are_equal_where_folded_texts_are() -> None:
    texts = ["", " ", "a", "A", "a b", " a\n\tb ", "ab", "a b c d e f g h", "abcdefgh",
             "abcdefgh i",
             "abcdefg h", "é", "É", "a" * 8, "a" * 16, "\x00", "\x00\x00", "a\x00"]  # fmt: skip
    folded = [b" ".join(t.encode().lower().split()) for t in texts]
    digests = [exact_digest(t) for t in texts]
    for i in range(len(texts)):
        for j in range(len(texts)):
            assert (digests[i] == digests[j]) == (folded[i] == folded[j]), (texts[i], texts[j])


@given(
    st.text(st.sampled_from("aB \n\0é"), max_size=20),
    st.text(st.sampled_from("Ab \t\0é"), max_size=20),
)
def test_digest_matches_folding(left: str, right: str) -> None:
    same = left.encode().lower().split() == right.encode().lower().split()
    assert (exact_digest(left) == exact_digest(right)) == same


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=60), max_size=8))
def test_any_texts_are_taken(texts: list[str]) -> None:
    found = find_duplicates(texts)
    assert (found.kept[found.kept] == found.kept).all()
    assert find_duplicates(texts + texts).removed.sum() >= len(texts)


def test_adversarial_texts() -> None:
    texts = ["", "", "x", "😀", "😀 ", "\ud800", "שלום עולם", "y" * 1_000_000, "z " * 100_000, "."]
    found = find_duplicates(texts)
    assert sorted(map(sorted, found.clusters())) == [[0, 1], [3, 4]]
    same = find_duplicates(["all the same"] * 3000)
    assert same.removed.sum() == 2999


def test_too_many_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2048"):
        DedupConfig(bands=256, rows=64)
