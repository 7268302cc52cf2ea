"""The exact substring step: repeated passages inside documents, global over all shards."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import names
from openseek.config.substring import SubstringConfig
from openseek.dedup.passes import run_pass
from openseek.dedup.substring_shards import (
    ROW_BYTES,
    SpanPlan,
    cut_shard,
    match_partition,
    prints_shard,
    same_partition,
    windows_shard,
)

_TEXT_PER_PARQUET_BYTE = 4.0  # zstd on prose: 3 to 4
_BYTES_PER_WORD = 4  # 5.5 in English, 3 in Chinese
_SORT_FACTOR = 5  # bytes that sorting rows needs in all, per byte of them


def exact_substring(ctx: StepContext[SubstringConfig]) -> dict[str, Any]:
    """Remove passages that occur twice or more, across documents and within one.

    Input `documents`: shards of documents. Output: shards of the same names, rows in the same
    order; texts without the passages, or without the documents that are mostly made of them.

    Returns:
        Metrics: documents and bytes in and out, by source; `dropped` and `changed` as substring;
        `bytes`: `duplicated` ones in repeated passages, `cut` ones, `spans` cut; `work`:
        fingerprints, places repeated and windows compared.
    """
    from openseek.corpus.funnel import merge_stats

    files, out, config = ctx.inputs["documents"], ctx.out, ctx.config
    shards = tuple(names(files, "*.parquet"))
    plan = SpanPlan(shards, _partitions(ctx, shards))
    each, parts = range(len(shards)), range(plan.partitions)
    run_pass(ctx, prints_shard, each, plan.prints_id, (files, out, plan, config))
    run_pass(ctx, match_partition, parts, plan.match_id, (out, plan))
    records = out.shards()
    windows = sum(records[plan.match_id(p)].stats["windows"] for p in parts)
    plan = dataclasses.replace(plan, window_partitions=_fitting(ctx, windows * ROW_BYTES))
    run_pass(ctx, windows_shard, each, plan.windows_id, (files, out, plan, config))
    run_pass(ctx, same_partition, range(plan.window_partitions), plan.same_id, (out, plan))
    run_pass(ctx, cut_shard, each, plan.shard, (files, out, plan, config))
    records = out.shards()
    metrics = merge_stats(
        (records[plan.shard(i)].stats for i in each), samples=config.samples
    ).metrics("bytes")
    printed = [records[plan.prints_id(i)].stats for i in each]
    return {
        **metrics,
        "work": {
            "fingerprints": sum(s["fingerprints"] + s["local_copies"] for s in printed),
            "windows_compared": windows,
        },
    }


def _partitions(ctx: StepContext[SubstringConfig], shards: tuple[str, ...]) -> int:
    """Choose so many partitions that one can be sorted in a worker's memory."""
    sizes = {r.name: r.size for r in ctx.inputs["documents"].records()}
    units = _TEXT_PER_PARQUET_BYTE * sum(sizes[name] for name in shards)
    if ctx.config.unit == "words":
        units /= _BYTES_PER_WORD
    places = 4 * units / ctx.config.min_length  # winnowing: 2 / (half the length + 2)
    return _fitting(ctx, places * ROW_BYTES)


def _fitting(ctx: StepContext[SubstringConfig], n_bytes: float) -> int:
    if ctx.config.partitions:
        return ctx.config.partitions
    return max(1, math.ceil(n_bytes * _SORT_FACTOR / ctx.runtime.memory_per_worker))
