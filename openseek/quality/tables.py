"""Document shards as tables, and counting what happens to their rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openseek.corpus.document import DOCUMENT_SCHEMA
from openseek.corpus.shards import iter_batches

SAMPLES = 5
SAMPLE_CHARS = 300
_SIDES = ("documents_in", "documents_out", "bytes_in", "bytes_out")


def read_table(path: Path) -> pa.Table:
    """Read a whole document shard.

    Raises:
        DataError: It is no parquet file, or a column of the schema is missing.
    """
    table = pa.Table.from_batches(list(iter_batches(path)), schema=DOCUMENT_SCHEMA)
    return table.combine_chunks()


def tables(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a document shard as tables of a few MB, so that its size does not matter.

    Raises:
        DataError: It is no parquet file, or a column of the schema is missing.
    """
    for batch in iter_batches(path, columns):
        yield pa.Table.from_batches([batch])


def text_buffer(column: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """View a text column as UTF-8 bytes and offsets, without a copy for a single chunk."""
    array = column
    if isinstance(array, pa.ChunkedArray):
        empty = [pa.array([], pa.large_string())]
        array = pa.concat_arrays(array.chunks or empty) if array.num_chunks != 1 else array.chunk(0)
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if len(array) == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data if data is not None else b"", np.uint8), bounds


def shard_id(name: str) -> str:
    """Derive a shard id from a file name: `books-00001.parquet` -> `books-00001`."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name.removesuffix(".parquet"))


def write_jsonl(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Write rows as JSON lines with sorted keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as f:
        for row in rows:
            f.write(json_line(row))
    return path


def json_line(row: Mapping[str, Any]) -> str:
    """Write one row as a JSON line with sorted keys."""
    return json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


class Funnel:
    """What a step did with documents: counts by source, reasons, and a few samples of each."""

    def __init__(self) -> None:
        self._sides: dict[str, Counter[str]] = {}
        self._reasons: dict[str, Counter[str]] = {
            "dropped": Counter(), "changed": Counter(), "quarantined": Counter()
        }  # fmt: skip
        self._samples: dict[str, list[dict[str, Any]]] = {}

    def count(self, side: str, sources: Sequence[str], sizes: NDArray[np.int64]) -> None:
        """Count documents on side `in` or `out`.

        Args:
            side: `in` or `out`.
            sources: Source of each document.
            sizes: UTF-8 bytes of each document's text.
        """
        names, inverse = np.unique(np.asarray(sources, dtype=str), return_inverse=True)
        for i, name in enumerate(names.tolist()):
            mine = self._sides.setdefault(name, Counter())
            mine[f"documents_{side}"] += int((inverse == i).sum())
            mine[f"bytes_{side}"] += int(sizes[inverse == i].sum())

    def note(self, kind: str, reason: str, **sample: Any) -> None:
        """Count one document as `dropped`, `changed` or `quarantined`; keep a sample."""
        self._reasons[kind][reason] += 1
        self.sample(reason, **sample)

    def sample(self, reason: str, **sample: Any) -> None:
        """Keep a sample unless there are enough; long strings are cut."""
        kept = self._samples.setdefault(reason, [])
        if len(kept) < SAMPLES:
            kept.append(
                {k: v[:SAMPLE_CHARS] if isinstance(v, str) else v for k, v in sample.items()}
            )

    def stats(self) -> dict[str, Any]:
        """Return everything as JSON, to be kept with the shard."""
        return {
            "by_source": {k: dict(v) for k, v in sorted(self._sides.items())},
            **{kind: dict(sorted(c.items())) for kind, c in self._reasons.items()},
            "samples": dict(sorted(self._samples.items())),
        }

    @staticmethod
    def total(shards: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Add the stats of all shards up to a step's metrics."""
        sources: dict[str, Counter[str]] = {}
        reasons = {kind: Counter[str]() for kind in ("dropped", "changed", "quarantined")}
        samples: dict[str, list[Any]] = {}
        for stats in shards:
            for name, sides in stats["by_source"].items():
                sources.setdefault(name, Counter()).update(sides)
            for kind, counter in reasons.items():
                counter.update(stats[kind])
            for reason, rows in stats["samples"].items():
                kept = samples.setdefault(reason, [])
                kept.extend(rows[: SAMPLES - len(kept)])
        return {
            **{side: sum(c[side] for c in sources.values()) for side in _SIDES},
            "by_source": {
                name: {side: c[side] for side in _SIDES} for name, c in sorted(sources.items())
            },
            **{kind: dict(sorted(c.items())) for kind, c in reasons.items()},
            "samples": dict(sorted(samples.items())),
        }
