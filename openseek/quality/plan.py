"""What all documents together decide: perplexity cuts, ranks of raw scores, tiers.

A raw table (one a shard) has the columns lang, category, domain, one a scorer, and bits_per_char.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openseek.config.quality import QualityConfig
from openseek.quality.ensemble import Sketch, above, combine, group_rows, tier_of

FLUENCY = "bits_per_char"


@dataclass
class Plan:
    """Cuts and quantiles over all shards.

    Attributes:
        cuts: Group of the perplexity filter -> cell of bits per character.
        raw: `scorer/language` -> its raw scores.
        final: `category/language` -> final scores of what is kept.
    """

    cuts: dict[str, int] = field(default_factory=dict)
    raw: dict[str, Sketch] = field(default_factory=dict)
    final: dict[str, Sketch] = field(default_factory=dict)


def make_plan(shards: Callable[[], Iterable[pa.Table]], config: QualityConfig) -> Plan:
    """Read all raw tables twice: for cuts and ranks, then for the quantiles of the final score."""
    plan, fluency = Plan(), dict[str, Sketch]()
    for raw in shards():
        for group, rows in group_rows(fluency_groups(raw, config)).items():
            fluency.setdefault(group, Sketch()).add(raw[FLUENCY].to_numpy()[rows])
        for lang, rows in group_rows(raw["lang"].to_pylist()).items():
            for scorer in config.scorers:
                sketch = plan.raw.setdefault(f"{scorer.name}/{lang}", Sketch())
                sketch.add(raw[scorer.name].to_numpy()[rows])
    plan.cuts = _cuts(fluency, config)
    for raw in shards():
        final, keep = final_scores(raw, plan, config), ~strange(raw, plan, config)
        for group, rows in group_rows(tier_groups(raw)).items():
            plan.final.setdefault(group, Sketch()).add(final[rows[keep[rows]]])
    return plan


def _cuts(fluency: dict[str, Sketch], config: QualityConfig) -> dict[str, int]:
    """Cut each group at its quantile; small groups of a language are cut as if they were one."""
    small = {g for g, s in fluency.items() if s.total < config.fluency.min_documents}
    pools: dict[str, Sketch] = {}
    for group in sorted(small):
        pools.setdefault(_lang(group), Sketch()).merge(fluency[group])
    return {
        group: (pools[_lang(group)] if group in small else sketch).cut(config.fluency.quantile)
        for group, sketch in fluency.items()
    }


def _lang(group: str) -> str:
    return group.rpartition("/")[2]


def tier_groups(raw: pa.Table) -> list[str]:
    """Name the group whose quantiles make each document's tier: `category/language`."""
    return _pairs(raw, "category")


def fluency_groups(raw: pa.Table, config: QualityConfig) -> list[str]:
    """Name the group whose quantile cuts each document: `domain/language` or by category."""
    return _pairs(raw, config.fluency.group)


def _pairs(raw: pa.Table, column: str) -> list[str]:
    pairs = zip(raw[column].to_pylist(), raw["lang"].to_pylist(), strict=True)
    return [f"{name}/{lang}" for name, lang in pairs]


def final_scores(raw: pa.Table, plan: Plan, config: QualityConfig) -> NDArray[np.float32]:
    """Join each document's raw scores to its final score in [0, 1)."""
    final = np.zeros(raw.num_rows, np.float32)
    for lang, rows in group_rows(raw["lang"].to_pylist()).items():
        ranks = [
            plan.raw[f"{s.name}/{lang}"].rank(raw[s.name].to_numpy()[rows]) for s in config.scorers
        ]
        final[rows] = combine(ranks, config.bins)
    return final


def strange(raw: pa.Table, plan: Plan, config: QualityConfig) -> NDArray[np.bool_]:
    """Tell which documents the perplexity filter drops."""
    bits = raw[FLUENCY].to_numpy()
    found = np.zeros(raw.num_rows, np.bool_)
    if config.fluency.enabled:
        for group, rows in group_rows(fluency_groups(raw, config)).items():
            found[rows] = above(bits[rows], plan.cuts[group])
    return found


def tiers_of(
    raw: pa.Table, final: NDArray[np.float32], plan: Plan, config: QualityConfig
) -> NDArray[np.object_]:
    """Name each document's tier; empty where its whole group was dropped."""
    tiers = np.full(raw.num_rows, "", dtype=object)
    for group, rows in group_rows(tier_groups(raw)).items():
        if plan.final[group].total:
            tiers[rows] = tier_of(
                final[rows], plan.final[group], config.medium_from, config.high_from
            )
    return tiers
