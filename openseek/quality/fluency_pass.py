"""The first pass of the `score` step: counts of n-grams for the fluency model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, ShardRecord
from openseek.compute import map_shards
from openseek.config.quality import QualityConfig
from openseek.quality.fluency import Counts, Texts, count_ngrams, drawn, sum_counts
from openseek.quality.tables import shard_id, tables, text_buffer


def _counts_id(name: str) -> str:
    return f"counts-{shard_id(name)}"


def train_fluency(ctx: StepContext[QualityConfig], shards: Sequence[str]) -> NDArray[np.uint32]:
    """Count the n-grams of the documents that are drawn, shard by shard; counts are shards too."""
    budget = ctx.config.fluency.train_bytes // max(1, len(shards))
    done = ctx.out.shards()
    fresh = [n for n in shards if _counts_id(n) not in done]
    map_shards(
        _count_shard, fresh, runtime=ctx.runtime,
        args=(ctx.inputs["documents"], ctx.out, ctx.config, budget),
        progress=ctx.progress, unit="shards counted", done_before=len(shards) - len(fresh),
    )  # fmt: skip
    done = ctx.out.shards()
    records = (done[_counts_id(n)] for n in shards)
    return sum_counts((_load_counts(ctx.out, record) for record in records), ctx.config.fluency)


def _count_shard(
    name: str, documents: FileSet, out: Output, config: QualityConfig, budget: int
) -> None:
    path, ids, sizes = documents.local(name), list[str](), [np.zeros(0, np.int64)]
    for table in tables(path, ["id", "text"]):
        ids += table["id"].to_pylist()
        sizes.append(np.diff(text_buffer(table["text"])[1]))
    chosen = drawn(ids, np.concatenate(sizes), config.fluency, budget)
    found = count_ngrams(_drawn_texts(path, chosen), config.fluency)
    files = {}
    for part, array in (("at", found[0]), ("counts", found[1])):
        files[f"counts/{shard_id(name)}-{part}.npy"] = scratch = (
            out.scratch / f"{_counts_id(name)}-{part}-{os.getpid()}.npy"
        )
        np.save(scratch, array, allow_pickle=False)
    out.commit_shard(_counts_id(name), files, final=False)


def _drawn_texts(path: Path, chosen: NDArray[np.bool_]) -> Iterator[Texts]:
    start = 0
    for table in tables(path, ["id", "lang", "text"]):
        mine = table.filter(pa.array(chosen[start : start + table.num_rows]))
        start += table.num_rows
        if mine.num_rows:
            buf, offsets = text_buffer(mine["text"])
            yield buf, offsets, mine["id"].to_pylist(), mine["lang"].to_pylist()


def _load_counts(out: Output, record: ShardRecord) -> Counts:
    at, counts = (np.load(out.local(f), allow_pickle=False) for f in record.files)
    return at, counts
