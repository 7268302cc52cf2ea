"""Lines and paragraphs that occur often, global over all shards: the passes and the step.

    lines    shard -> digests and places of its lines, cut into partitions by digest
    often    partition -> places of the lines to remove
    strip    shard -> its documents without them

Lines are compared by the 128-bit digest of `kernels.digests`: case and spaces make no difference.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, names
from openseek.config.lines import LinesConfig
from openseek.dedup.passes import run_pass
from openseek.dedup.shards import save, text_buffers
from openseek.dedup.substring_shards import (
    ROW_BYTES,
    SpanPlan,
    by_shard,
    gather,
    of_shard,
    partitioned,
)

_TEXT_PER_PARQUET_BYTE = 4.0
_BYTES_PER_LINE = 80
_SORT_FACTOR = 5


def remove_lines(ctx: StepContext[LinesConfig]) -> dict[str, Any]:
    """Remove lines or paragraphs that occur more than `max_copies` times.

    Input `documents`: shards of documents. Output: shards of the same names; a document of which
    only white space is left is dropped.

    Returns:
        Metrics: documents and bytes in and out, by source; `dropped` and `changed` as lines;
        `lines`: compared and removed.
    """
    from openseek.corpus.funnel import merge_stats

    files, out, config = ctx.inputs["documents"], ctx.out, ctx.config
    shards = tuple(names(files, "*.parquet"))
    sizes = {r.name: r.size for r in files.records()}
    rows = _TEXT_PER_PARQUET_BYTE * sum(sizes[s] for s in shards) / _BYTES_PER_LINE
    need = rows * ROW_BYTES * _SORT_FACTOR / ctx.runtime.memory_per_worker
    plan = SpanPlan(shards, config.partitions or max(1, math.ceil(need)))
    each = range(len(shards))
    run_pass(ctx, lines_shard, each, plan.prints_id, (files, out, plan, config))
    run_pass(ctx, often_partition, range(plan.partitions), plan.match_id, (out, plan, config))
    run_pass(ctx, strip_shard, each, plan.shard, (files, out, plan, config))
    records = out.shards()
    stats = [records[plan.shard(i)].stats for i in each]
    metrics = merge_stats(stats, samples=config.samples).metrics("lines")
    compared = sum(records[plan.prints_id(i)].stats["lines"] for i in each)
    return {**metrics, "lines": {"compared": compared, **metrics["lines"]}}


def split(buf: NDArray[np.uint8], offsets: NDArray[np.int64], unit: str) -> NDArray[np.int64]:
    """Return where lines or paragraphs start, and the end of the last one, ascending.

    Args:
        buf: UTF-8 of all texts.
        offsets: Starts of the texts and the end of the last one.
        unit: `line` or `paragraph`.
    """
    first, last = int(offsets[0]), int(offsets[-1])
    ends = np.flatnonzero(buf[first:last] == 10) + first
    if unit == "paragraph" and ends.size:
        after = np.append(buf[first:last], np.uint8(10))[ends + 1 - first]
        before = np.append(np.uint8(0), buf[first:last])[ends - first]
        ends = ends[(before == 10) & (after != 10)]
    return np.unique(np.concatenate([offsets, ends + 1]))


def lines_shard(
    index: int, files: FileSet, out: Output, plan: SpanPlan, config: LinesConfig
) -> None:
    """Digest a shard's lines; a place is the byte of the shard's text where a line starts."""
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.kernels import digests

    tables, at = [np.empty((0, 3), np.uint64)], 0
    for batch in iter_batches(files.local(plan.names[index]), ["text"]):
        buf, offsets = text_buffers(batch.column("text"))
        starts = split(buf, offsets, config.unit)
        long = np.diff(starts) >= config.min_bytes
        rows = np.empty((int(long.sum()), 3), np.uint64)
        rows[:, :2] = digests(buf, starts)[long]
        rows[:, 2] = (starts[:-1] - offsets[0] + at)[long]
        tables.append(rows)
        at += int(offsets[-1] - offsets[0])
    table = np.concatenate(tables)
    shard = plan.prints_id(index)
    produced = partitioned(out, shard, table, table[:, 0], plan.partitions)
    out.commit_shard(shard, produced, stats={"lines": len(table)}, final=False)


def often_partition(partition: int, out: Output, plan: SpanPlan, config: LinesConfig) -> None:
    """Bring equal lines of all shards together and list the ones to remove."""
    ids = [plan.prints_id(i) for i in range(len(plan.names))]
    rows, shards = gather(out, ids, partition)
    order = np.lexsort((rows[:, 1], rows[:, 0]))  # stable: equal ones stay in order of the corpus
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (rows[order[1:], :2] != rows[order[:-1], :2]).any(axis=1)
    heads = np.flatnonzero(fresh)
    group = np.cumsum(fresh) - 1
    copies = np.diff(np.append(heads, len(rows)))
    rank = np.arange(len(rows)) - heads[group]
    gone = copies[group] > config.max_copies
    if config.keep == "first":
        gone &= rank >= config.max_copies
    chosen = np.sort(order[gone])
    shard = plan.match_id(partition)
    produced = save(out, shard, by_shard("repeat", rows[chosen, 2], shards[chosen], plan))
    out.commit_shard(shard, produced, stats={"removed": len(chosen)}, final=False)


def strip_shard(
    index: int, files: FileSet, out: Output, plan: SpanPlan, config: LinesConfig
) -> None:
    """Write a shard's documents without the lines to remove."""
    import pyarrow as pa

    from openseek.corpus.document import DOCUMENT_SCHEMA
    from openseek.corpus.funnel import Funnel
    from openseek.corpus.shards import TableWriter, iter_batches

    records = out.shards()
    parts = [records[plan.match_id(p)] for p in range(plan.partitions)]
    places = np.sort(of_shard(out, parts, "repeat", index).astype(np.int64))
    funnel, at = Funnel(config.samples), 0
    path = out.scratch / f"{plan.shard(index)}-{os.getpid()}.parquet"
    with TableWriter(path) as writer:
        for batch in iter_batches(files.local(plan.names[index])):
            table = pa.Table.from_batches([batch]).cast(DOCUMENT_SCHEMA)
            buf, offsets = text_buffers(batch.column("text"))
            size = int(offsets[-1] - offsets[0])
            a, b = np.searchsorted(places, [at, at + size])
            writer.add(_strip(table, buf, offsets, places[a:b] - at + offsets[0], config, funnel))
            at += size
    out.commit_shard(
        plan.shard(index), {plan.names[index]: path}, rows=writer.rows, stats=funnel.stats()
    )


def _strip(
    table: Any,
    buf: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    places: NDArray[np.int64],
    config: LinesConfig,
    funnel: Any,
) -> Any:
    import pyarrow as pa

    from openseek.dedup.substring import without

    starts = split(buf, offsets, config.unit)
    spans = np.stack([places, starts[np.searchsorted(starts, places) + 1]], axis=1)
    edges = np.searchsorted(places, offsets)
    texts: list[str] | None = None
    keep = np.ones(table.num_rows, np.bool_)
    for i, source in enumerate(table["source"].to_pylist()):
        left = size = int(offsets[i + 1] - offsets[i])
        own = spans[edges[i] : edges[i + 1]] - offsets[i]
        if len(own):
            texts = table["text"].to_pylist() if texts is None else texts
            raw = buf[offsets[i] : offsets[i + 1]].tobytes()
            shorter = without(raw, own)
            texts[i], left, keep[i] = shorter.decode(), len(shorter), bool(shorter.strip())
            funnel.count("changed" if keep[i] else "dropped", "lines")
            funnel.count("lines", "removed", len(own))
            line = raw[own[0, 0] : own[0, 1]].decode()
            funnel.sample("lines", id=table["id"][i].as_py(), source=source, text=line)
        funnel.document(source, size, left if keep[i] else None)
    if texts is not None:
        column = pa.array(texts, pa.large_string())
        field = table.schema.field("text")
        table = table.set_column(table.column_names.index("text"), field, column)
    return table.filter(pa.array(keep))
