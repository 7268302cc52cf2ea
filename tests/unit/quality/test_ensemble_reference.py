"""The ensemble and the perplexity cut against their definitions, written down naively."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.config.quality import FluencyConfig, HeuristicScorerConfig, QualityConfig
from openseek.quality.plan import FLUENCY, final_scores, make_plan, strange

NAN = float("nan")
# Halves and quarters: far enough apart that no two share a cell of a sketch.
SCORES = st.sampled_from([-3.0, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 40.0, NAN])
ROWS = st.lists(
    st.tuples(st.sampled_from(["en", "zh"]), SCORES, SCORES, st.sampled_from(["a", "b", "c"]),
              st.integers(1, 40).map(lambda n: n / 4)),
    min_size=1, max_size=70,
)  # fmt: skip


def config(min_documents: int = 8, quantile: float = 0.9) -> QualityConfig:
    scorers = (HeuristicScorerConfig(name="one"), HeuristicScorerConfig(name="two"))
    fluency = FluencyConfig(min_documents=min_documents, quantile=quantile)
    return QualityConfig(scorers=scorers, fluency=fluency)


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    lang, one, two, domain, bits = (list(c) for c in zip(*rows, strict=True))
    kind = pa.float32()
    return pa.table({
        "lang": lang, "category": ["foundation"] * len(lang), "domain": domain,
        "one": pa.array(one, kind), "two": pa.array(two, kind), FLUENCY: pa.array(bits, kind),
    })  # fmt: skip


def naive_rank(value: float, values: list[float]) -> Fraction:
    below, equal = sum(v < value for v in values), sum(v == value for v in values)
    return (below + Fraction(equal, 2)) / len(values)


def naive_score(row: tuple[Any, ...], rows: list[tuple[Any, ...]], bins: int) -> Fraction:
    """The highest bin over all scorers with an opinion; their mean rank orders within it."""
    ranks = []
    for scorer in (1, 2):
        values = [r[scorer] for r in rows if r[0] == row[0] and r[scorer] == r[scorer]]
        if row[scorer] == row[scorer]:
            ranks.append(naive_rank(row[scorer], values))
    if not ranks:
        return Fraction(0)
    level = max(min(int(rank * bins), bins - 1) for rank in ranks)
    return (level + sum(ranks) / len(ranks)) / bins


@given(ROWS, st.integers(1, 4))
@settings(max_examples=200)
def test_scores_are_the_highest_of_twenty_equal_bins_by_language(
    rows: list[tuple[Any, ...]], shards: int
) -> None:
    parts = [table(rows[i::shards]) for i in range(shards) if rows[i::shards]]
    plan = make_plan(lambda: parts, config())
    for part, mine in zip(parts, (rows[i::shards] for i in range(shards)), strict=False):
        found = final_scores(part, plan, config())
        wanted = [naive_score(row, rows, 20) for row in mine]
        np.testing.assert_allclose(found, np.array(wanted, np.float64), atol=1e-6)


@given(st.integers(1, 6), st.permutations(range(20)))
@settings(max_examples=30)
def test_distinct_scores_fill_all_bins_alike(each: int, order: list[int]) -> None:
    values = [float(v + 20 * k) for k in range(each) for v in order]
    rows = [("en", v, NAN, "a", 1.0) for v in values]  # the other scorer is silent throughout
    plan = make_plan(lambda: [table(rows)], config())
    levels = np.floor(final_scores(table(rows), plan, config()).astype(float) * 20 + 1e-6)
    assert np.bincount(levels.astype(int), minlength=20).tolist() == [each] * 20


def test_fewer_documents_than_bins_and_equal_scores() -> None:
    few = [("en", float(v), float(v), "a", 1.0) for v in (1, 2, 3)]
    plan = make_plan(lambda: [table(few)], config())
    found = final_scores(table(few), plan, config())
    assert np.floor(found * 20).tolist() == [3, 10, 16]
    same = [("en", 2.0, 5.0, "a", 1.0)] * 50
    plan = make_plan(lambda: [table(same)], config())
    assert set(final_scores(table(same), plan, config()).tolist()) == {np.float32(10.5 / 20)}


@given(ROWS, st.sampled_from([0.75, 0.9, 0.995]), st.sampled_from([1, 8, 1000]))
@settings(max_examples=150)
def test_the_cut_is_the_quantile_of_the_domain_and_small_domains_share_one(
    rows: list[tuple[Any, ...]], quantile: float, least: int
) -> None:
    given_config = config(least, quantile)
    raw = table(rows)
    groups: dict[tuple[str, str], list[float]] = {}
    for lang, _, _, domain, bits in rows:
        groups.setdefault((domain, lang), []).append(bits)
    cuts = {}
    for group, values in groups.items():
        small = [v for g, vs in groups.items() if g[1] == group[1] and len(vs) < least for v in vs]
        cuts[group] = np.quantile(small if len(values) < least else values, quantile,
                                  method="higher")  # fmt: skip
    wanted = [bits > cuts[domain, lang] for lang, _, _, domain, bits in rows]
    found = strange(raw, make_plan(lambda: [raw], given_config), given_config)
    assert found.tolist() == wanted
