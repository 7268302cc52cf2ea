"""How tiers, domains and scores of the kept documents are distributed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openseek.quality.ensemble import TIERS
from openseek.quality.plan import tier_groups

HISTOGRAM_BINS = 20


class Distributions:
    """Count tiers by group, domains by language, and the final score by source."""

    def __init__(self) -> None:
        self.tiers: dict[str, dict[str, int]] = {}
        self.histograms: dict[str, list[int]] = {}
        self.domains: dict[str, Counter[str]] = {}

    def add(
        self, sources: Sequence[str], raw: pa.Table, final: NDArray[np.float32],
        tiers: NDArray[np.object_], kept: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Count some documents.

        Args:
            sources: Their sources.
            raw: Their raw table.
            final: Their final scores.
            tiers: Their tiers.
            kept: Rows of those that are kept; the others are not counted.
        """
        groups = tier_groups(raw)
        domains, langs = raw["domain"].to_pylist(), raw["lang"].to_pylist()
        for row in kept.tolist():
            self.tiers.setdefault(groups[row], dict.fromkeys(TIERS, 0))[tiers[row]] += 1
            bins = self.histograms.setdefault(sources[row], [0] * HISTOGRAM_BINS)
            bins[min(int(final[row] * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)] += 1
            if domains[row]:
                self.domains.setdefault(langs[row], Counter())[domains[row]] += 1

    def stats(self) -> dict[str, Any]:
        """Return everything as JSON, to be kept with the shard."""
        return {
            "tiers": self.tiers,
            "score_histogram": self.histograms,
            "domains": {lang: dict(sorted(c.items())) for lang, c in sorted(self.domains.items())},
        }
