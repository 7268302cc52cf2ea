"""What a synthesis step reports: yield by recipe and reason, lengths, samples, requests, cost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from openseek.config.synthesis import SynthesisConfig
from openseek.quality.tables import Funnel
from openseek.synthesis.generate import Outcome
from openseek.synthesis.prices import cost_usd
from openseek.synthesis.rows import Row, SourceDocument

_SAMPLES = 10  # side by side with their source, per recipe
_EXCERPT = 1200
_LENGTHS = (0, 100, 200, 400, 800, 1600, 3200, 6400, 12800)


class Summary:
    """Count one piece of one recipe's work."""

    def __init__(self, recipe: str) -> None:
        self.recipe = recipe
        self.funnel = Funnel()
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.usage: Counter[str] = Counter()
        self.lengths = [0] * len(_LENGTHS)
        self.samples: list[dict[str, str]] = []

    def outcome(self, outcome: Outcome) -> None:
        """Count a document and what it cost."""
        document = outcome.document
        size = np.array([len(document.text.encode("utf-8", "replace"))], np.int64)
        self.funnel.count("in", [document.source], size)
        self.usage.update(outcome.usage)
        self.counts["documents"] += 1
        if outcome.failure:
            self.failures[outcome.failure] += 1

    def row(self, document: SourceDocument, row: Row, text: str, reason: str) -> None:
        """Count a row as kept (no reason) or rejected."""
        self.counts["rows"] += 1
        source = f"synthetic-{self.recipe}"
        if reason:
            self.rejected[reason] += 1
            self.funnel.note("dropped", reason, id=document.id, source=source, text=text)
            return
        self.counts["kept"] += 1
        if row.kind == "rl":
            self.counts["tasks"] += 1
        self.lengths[int(np.searchsorted(_LENGTHS, len(text), side="right")) - 1] += 1
        if row.kind != "rl":
            size = np.array([len(text.encode("utf-8", "replace"))], np.int64)
            self.funnel.count("out", [source], size)
        drawn = hashlib.blake2b(f"{document.id}/{text}".encode("utf-8", "replace"), digest_size=8)
        pair = {"excerpt": document.text[:_EXCERPT], "text": text[:_EXCERPT]}
        about = {"draw": drawn.hexdigest(), "id": document.id, "source": document.source}
        self.samples = _fewest([*self.samples, about | pair])

    def stats(self) -> dict[str, Any]:
        """Return everything as JSON, to be kept with the shard."""
        return self.funnel.stats() | {
            "recipe": self.recipe,
            "counts": dict(self.counts),
            "failures": dict(self.failures),
            "rejected": dict(self.rejected),
            "usage": dict(self.usage),
            "lengths": self.lengths,
            "side_by_side": self.samples,
        }

    @staticmethod
    def total(config: SynthesisConfig, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Add up the stats of all pieces to the step's metrics."""
        usage: Counter[str] = Counter()
        for stats in shards:
            usage.update(stats["usage"])
        counted = ("requests", "repairs", "prompt_tokens", "completion_tokens", "cached_tokens")
        spent = {k: usage[k] for k in counted if usage[k] or k != "cached_tokens"}
        recipes = {
            recipe.name: _recipe_total([s for s in shards if s["recipe"] == recipe.name])
            for recipe in config.recipes
        }
        teacher = config.teacher
        return Funnel.total(shards) | {
            "teacher": "extractive" if teacher.kind == "extractive" else teacher.model,
            "recipes": recipes,
            "failed": _add(s["failures"] for s in shards),
            "length_edges": list(_LENGTHS),
            **spent,
            "cost_usd": round(cost_usd(spent, config.teacher), 6),
        }


def _fewest(samples: list[dict[str, str]]) -> list[dict[str, str]]:
    """Keep the samples with the smallest draws: a fair sample, the same for any order of rows."""
    return sorted(samples, key=lambda s: (s["draw"], s["id"]))[:_SAMPLES]


def _recipe_total(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = _add(s["counts"] for s in shards)
    rows, kept = counts.get("rows", 0), counts.get("kept", 0)
    return {
        "documents": counts.get("documents", 0),
        "rows": rows,
        "kept": kept,
        "tasks": counts.get("tasks", 0),
        "yield": round(kept / rows, 4) if rows else 0.0,
        "failed": _add(s["failures"] for s in shards),
        "rejected": _add(s["rejected"] for s in shards),
        "usage": _add(s["usage"] for s in shards),
        "lengths": np.sum([s["lengths"] for s in shards], axis=0).tolist() if shards else [],
        "side_by_side": _fewest([row for s in shards for row in s["side_by_side"]]),
    }


def _add(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(sorted(total.items()))
