"""Sum up the statistics of token shards: counts by label, and the unigram model of the tokens.

The unigram model knows how often each token occurs and nothing else. A trained model must end
clearly below it: its entropy is H = -Σ p log p nats a token, and H/ln 2 · tokens/bytes bits a byte.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from openseek.artifacts.files import Json
from openseek.corpus.document import CATEGORIES

_SAMPLES = 5
_FOUR = ("documents_in", "bytes_in", "documents_out", "bytes_out")


def data_metrics(stats: Sequence[Json]) -> Json:
    """Sum up what every data step reports, from its shards."""
    by_source: dict[str, list[int]] = {}
    dropped: dict[str, int] = {}
    quarantined: dict[str, int] = {}
    samples: dict[str, list[Json]] = {}
    for shard in stats:
        for source, numbers in shard["in"].items():
            entry = by_source.setdefault(source, [0, 0, 0, 0])
            by_source[source] = [a + b for a, b in zip(entry, numbers, strict=True)]
        for total, name in ((dropped, "dropped"), (quarantined, "quarantined")):
            for reason, n in shard[name].items():
                total[reason] = total.get(reason, 0) + n
        for reason, found in shard["samples"].items():
            samples[reason] = (samples.get(reason, []) + found)[:_SAMPLES]
    sums = [sum(column) for column in zip(*by_source.values(), strict=True)] or [0, 0, 0, 0]
    return {
        **dict(zip(_FOUR, sums, strict=True)),
        "by_source": {s: dict(zip(_FOUR, by_source[s], strict=True)) for s in sorted(by_source)},
        "dropped": dict(sorted(dropped.items())),
        "changed": {},
        "quarantined": dict(sorted(quarantined.items())),
        "samples": dict(sorted(samples.items())),
    }


def count_tokens(stats: Sequence[Json]) -> Json:
    """Count tokens: total, and by category, source, tier, lang and domain."""
    segments = list(_segments(stats))
    counts: Json = {"total": sum(s["tokens"] for s in segments)}
    for label in ("category", "source", "tier", "lang"):
        by_label = Counter[str]()
        for segment in segments:
            by_label[segment[label]] += segment["tokens"]
        counts[f"by_{label}"] = dict(sorted(by_label.items()))
    by_domain = Counter[str]()
    for segment in segments:
        by_domain.update(segment.get("domains", {"": segment["tokens"]}))
    counts["by_domain"] = dict(sorted(by_domain.items()))
    return counts


def unigram(counts: np.ndarray[Any, Any], stats: Sequence[Json]) -> Json:
    """Compute bytes per token and the unigram model's loss, over all and by category.

    Args:
        counts: Token counts, (categories, vocab).
        stats: Statistics of the shards, for the bytes of text.
    """
    n_bytes = dict.fromkeys(CATEGORIES, 0)
    for segment in _segments(stats):
        n_bytes[segment["category"]] += segment["bytes"]
    rows = {c: counts[i] for i, c in enumerate(CATEGORIES) if n_bytes[c]}
    tokens = {c: int(row.sum()) for c, row in rows.items()}
    nats = {c: entropy_nats(row) for c, row in rows.items()}
    all_bytes, all_tokens, all_nats = (
        sum(n_bytes.values()),
        int(counts.sum()),
        entropy_nats(counts.sum(axis=0)),
    )
    return {
        "bytes_per_token": all_bytes / max(1, all_tokens),
        "bytes_per_token_by_category": {c: n_bytes[c] / tokens[c] for c in rows},
        "unigram_nats_per_token": all_nats,
        "unigram_nats_per_token_by_category": nats,
        "unigram_bits_per_byte": bits_per_byte(all_nats, all_tokens, all_bytes),
        "unigram_bits_per_byte_by_category": {
            c: bits_per_byte(nats[c], tokens[c], n_bytes[c]) for c in rows
        },
    }


def entropy_nats(counts: np.ndarray[Any, Any]) -> float:
    """Compute the entropy of a distribution given by counts, in nats."""
    present = counts[counts > 0].astype(np.float64)
    if not len(present):
        return 0.0
    p = present / present.sum()
    return float(-(p * np.log(p)).sum())


def bits_per_byte(nats_per_token: float, n_tokens: int, n_bytes: int) -> float:
    """Convert a loss in nats per token to bits per byte of text."""
    return nats_per_token / math.log(2) * n_tokens / max(1, n_bytes)


def _segments(stats: Sequence[Json]) -> Iterable[Json]:
    return (segment for shard in stats for segment in shard["segments"])
