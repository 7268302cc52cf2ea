"""What went into a data step and what came out: the figures that every one of them reports.

A shard fills one `Funnel` and stores `stats()` in its record; the step merges the records, so that
a resumed step reports the same as an uninterrupted one. Samples are the documents with the
smallest ids: ids are digests, so that is a fair draw which no number of workers changes.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Json = dict[str, Any]
SIDES = ("documents_in", "documents_out", "bytes_in", "bytes_out")
SAMPLE_CHARS = 300


class Funnel:
    """Count documents by source, and why they were dropped or changed.

    Args:
        samples: Documents kept per reason.
    """

    def __init__(self, samples: int = 5) -> None:
        self.samples_kept = samples
        self.by_source: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.counters: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.samples: dict[str, list[Json]] = {}

    def document(self, source: str, bytes_in: int, bytes_out: int | None) -> None:
        """Count one document; `bytes_out` is none if it was dropped."""
        sides = self.by_source[source]
        sides["documents_in"] += 1
        sides["bytes_in"] += bytes_in
        self.count("lengths_in", _length_bin(bytes_in))
        if bytes_out is not None:
            self.count("lengths_out", _length_bin(bytes_out))
            sides["documents_out"] += 1
            sides["bytes_out"] += bytes_out

    def documents(
        self, sources: pa.Array, bytes_in: NDArray[np.int64], stays: NDArray[np.bool_]
    ) -> None:
        """Count many documents, each of which stays as it is or is dropped.

        Args:
            sources: Their sources, a string array.
            bytes_in: Their lengths.
            stays: False where one is dropped.
        """
        encoded = sources.dictionary_encode()
        which = encoded.indices.to_numpy(zero_copy_only=False)
        for i, source in enumerate(encoded.dictionary.to_pylist()):
            sides = self.by_source[source]
            for side, chosen in (("in", which == i), ("out", (which == i) & stays)):
                sides[f"documents_{side}"] += int(chosen.sum())
                sides[f"bytes_{side}"] += int(bytes_in[chosen].sum())
        exponents = np.maximum(0, np.frexp(bytes_in)[1] - 1)  # exact below 2^53
        for side, chosen in (("in", stays | True), ("out", stays)):
            for exponent, n in zip(*np.unique(exponents[chosen], return_counts=True), strict=True):
                self.count(f"lengths_{side}", str(1 << int(exponent)), int(n))

    def count(self, table: str, reason: str, n: int = 1) -> None:
        """Add to a table of counts, such as `dropped` or `changed`."""
        self.counters[table][reason] += n

    def wants_sample(self, reason: str, id: str) -> bool:
        """Tell whether a document would be among a reason's samples."""
        kept = self.samples.get(reason, [])
        return self.samples_kept > 0 and (len(kept) < self.samples_kept or id < kept[-1]["id"])

    def sample(self, reason: str, *, id: str, source: str, text: str, **more: Any) -> None:
        """Offer a document as a sample of a reason."""
        if self.wants_sample(reason, id):
            row = {"id": id, "source": source, "text": text[:SAMPLE_CHARS], **more}
            kept = [*self.samples.get(reason, []), row]
            self.samples[reason] = heapq.nsmallest(self.samples_kept, kept, key=lambda s: s["id"])

    def merge(self, stats: Mapping[str, Any]) -> None:
        """Add the `stats()` of another funnel."""
        for source, sides in stats["by_source"].items():
            self.by_source[source].update(sides)
        for table, counts in stats["counters"].items():
            self.counters[table].update(counts)
        for reason, rows in stats["samples"].items():
            for row in rows:
                self.sample(reason, **row)

    def stats(self) -> Json:
        """Return everything as JSON, for a shard's record."""
        return {
            "by_source": {s: _sides(c) for s, c in sorted(self.by_source.items())},
            "counters": {t: dict(sorted(c.items())) for t, c in sorted(self.counters.items())},
            "samples": dict(sorted(self.samples.items())),
        }

    def metrics(self, *tables: str) -> Json:
        """Return a step's metrics, with an empty table for each of `tables` that nothing is in."""
        stats = self.stats()
        empty: Json = {t: {} for t in ("dropped", "changed", "quarantined", *tables)}
        total: Counter[str] = Counter()
        for sides in stats["by_source"].values():
            total.update(sides)
        counters: Json = stats["counters"]
        return {
            **_sides(total),
            "by_source": stats["by_source"],
            **empty,
            **counters,
            "samples": stats["samples"],
        }


def merge_stats(records: Iterable[Mapping[str, Any]], samples: int = 5) -> Funnel:
    """Merge the `stats()` of many shards."""
    funnel = Funnel(samples)
    for stats in records:
        funnel.merge(stats)
    return funnel


def _length_bin(n_bytes: int) -> str:
    """Name the bin of a length: its lower edge, a power of two, in bytes."""
    return str(1 << max(0, n_bytes.bit_length() - 1))


def _sides(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: int(counts.get(name, 0)) for name in SIDES}
