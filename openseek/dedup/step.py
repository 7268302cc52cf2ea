"""The deduplication step: exact and near duplicates, global over all shards."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import names
from openseek.config.dedup import DedupConfig
from openseek.dedup.index import NAME, describe, open_index
from openseek.dedup.passes import run_pass
from openseek.dedup.shards import (
    Plan,
    filter_shard,
    load,
    map_earlier,
    map_shard,
    pair_partition,
    save,
    shingle_shard,
    verify_shard,
)

VERSION = 3
"""Raise when the output of this step changes for the same configuration and input."""

_KEY_BYTES_PER_BYTE = 0.018  # of one band (16 bytes a document) to compressed text of 0.9 kB
_SORT_FACTOR = 6  # bytes a sort of keys needs in all, per byte of keys


def dedup(ctx: StepContext[DedupConfig]) -> dict[str, Any]:
    """Remove duplicates and keep the best document of each cluster.

    Input `documents`: shards of documents. Output: shards of the same names without duplicates,
    and `clusters.arrow` (id, kept, size, reason) with a row for each document of a cluster; with
    `write_index` also `index/`, which a later run names in `against`.

    Returns:
        Metrics: documents and bytes in and out, by source; `dropped` as exact and near;
        `clusters`: number, `largest` sizes, and `sizes` (size -> clusters); `pairs`: candidates
        and similar ones; `earlier`: documents of earlier indexes, and documents `removed` because
        one of those stays in their place; `cluster_samples`: beginnings of kept and removed texts.
    """
    from openseek.corpus.funnel import merge_stats

    files = ctx.inputs["documents"]
    shards = tuple(names(files, "*.parquet"))
    earlier = [open_index(index, ctx.config)[1] for index in ctx.config.against]
    plan = Plan(shards, _partitions(ctx, shards), tuple(f for fs in earlier for f in fs))
    run_pass(ctx, map_shard, range(len(shards)), plan.map_id, (files, ctx.out, plan, ctx.config))
    run_pass(ctx, map_earlier, range(len(shards), len(shards) + len(plan.earlier)), plan.map_id,
             (ctx.out, plan, ctx.config))  # fmt: skip
    run_pass(
        ctx, pair_partition, range(plan.partitions), plan.pairs_id, (ctx.out, plan, ctx.config)
    )
    if ctx.config.verify:
        run_pass(ctx, shingle_shard, range(len(shards)), lambda i: f"shingles-{plan.shard(i)}",
             (files, ctx.out, plan, ctx.config))  # fmt: skip
        run_pass(ctx, verify_shard, range(len(shards)), lambda i: f"verify-{plan.shard(i)}",
             (ctx.out, plan, ctx.config))  # fmt: skip
    if not {"components", "clusters"} <= set(ctx.out.shards()):
        _resolve(ctx, plan)
    run_pass(ctx, filter_shard, range(len(shards)), plan.shard,
             (files, ctx.out, plan, ctx.config))  # fmt: skip
    if ctx.config.write_index:
        _list_index(ctx, plan)
    records = ctx.out.shards()
    funnel = merge_stats(records[plan.shard(i)].stats for i in range(len(shards)))
    metrics = funnel.metrics()
    resolved = records["clusters"].stats
    verified = (
        [records[f"verify-{plan.shard(i)}"].stats for i in range(len(shards))]
        if (ctx.config.verify)
        else []
    )
    metrics["samples"] = {
        reason: [s["removed"] for s in resolved["samples"] if s["reason"] == reason][:5]
        for reason in ("exact", "near")
    }
    return {
        **metrics,
        "clusters": resolved["clusters"],
        "cluster_samples": resolved["samples"],
        "earlier": {
            "documents": sum(
                records[plan.map_id(len(shards) + j)].stats["documents"]
                for j in range(len(plan.earlier))
            ),
            "removed": resolved["earlier"],
        },
        "pairs": {
            "candidates": sum(s["candidates"] for s in verified),
            "similar": sum(s["similar"] for s in verified),
        },
    }


def _partitions(ctx: StepContext[DedupConfig], shards: Sequence[str]) -> int:
    """Choose so many partitions that one partition's keys can be sorted in a worker's memory."""
    if ctx.config.partitions:
        return ctx.config.partitions
    sizes = {r.name: r.size for r in ctx.inputs["documents"].records()}
    keys = ctx.config.keys * _KEY_BYTES_PER_BYTE * sum(sizes[name] for name in shards)
    return max(1, math.ceil(keys * _SORT_FACTOR / ctx.runtime.memory_per_worker))


def _resolve(ctx: StepContext[DedupConfig], plan: Plan) -> None:
    """Join all pairs to clusters, choose what stays, and commit the list of what is removed."""
    import numpy as np

    from openseek.dedup.graph import choose, components

    records = ctx.out.shards()
    partitions = [records[plan.pairs_id(p)] for p in range(plan.partitions)]
    exact = np.concatenate([load(ctx.out, r, "exact.npy") for r in partitions])
    near = (
        [records[f"verify-{plan.shard(i)}"] for i in range(len(plan.names))]
        if ctx.config.verify
        else partitions
    )
    edges = np.concatenate(
        [np.empty((0, 2), np.uint64), exact, *(load(ctx.out, r, "near.npy") for r in near)]
    )
    nodes, roots = components(edges)
    standings = _standings(ctx, plan, nodes.tolist())
    chosen = choose(roots, standings, ctx.config)
    ours = nodes < plan.first_earlier
    removed = ours & (chosen != np.arange(nodes.size))
    # Equal digests connect exact duplicates: the same component of exact pairs alone.
    twins, twin_roots = components(exact)
    twin_of = np.full(nodes.size, -1, np.int64)
    twin_of[np.searchsorted(nodes, twins)] = twin_roots
    same = (twin_of >= 0) & (twin_of == twin_of[chosen])
    produced = save(ctx.out, "components", {"removed": nodes[removed], "exact": same[removed]})
    ctx.out.commit_shard("components", produced, final=False)
    sizes = np.bincount(roots, minlength=nodes.size)
    reasons = np.where(~removed, "kept", np.where(same, "exact", "near")).tolist()
    path = ctx.out.scratch / f"clusters-{os.getpid()}.arrow"
    rows = sorted(
        (standings[k].id, standings[i].id, int(sizes[roots[i]]), reasons[i])
        for i, k in enumerate(chosen.tolist())
        if ours[i]
    )
    _write_clusters(path, rows)
    histogram = Counter(int(s) for s in sizes[sizes > 0])
    stats = {
        "clusters": {
            "number": sum(histogram.values()),
            "sizes": {str(s): n for s, n in sorted(histogram.items())},
            "largest": sorted((int(s) for s in sizes), reverse=True)[:5] if nodes.size else [],
        },
        "earlier": int((removed & ~ours[chosen]).sum()),
        "samples": _samples(ctx, plan, nodes.tolist(), chosen.tolist(), standings, reasons),
    }
    ctx.out.commit_shard("clusters", {"clusters.arrow": path}, rows=len(rows), stats=stats)


def _list_index(ctx: StepContext[DedupConfig], plan: Plan) -> None:
    """Write the list of the index's files, which is what a later run pins."""
    records = ctx.out.shards()
    files = [
        f
        for i in range(len(plan.names))
        for f in records[plan.shard(i)].files
        if f.name.startswith("index/")
    ]
    path = ctx.out.scratch / f"index-{os.getpid()}.json"
    path.write_text(json.dumps(describe(files, ctx.config), indent=1), encoding="utf-8")
    ctx.out.commit_shard("index", {NAME: path})


def _write_clusters(path: Any, rows: Sequence[tuple[str, str, int, str]]) -> None:
    import pyarrow as pa
    from pyarrow import feather

    schema = pa.schema(
        [("id", pa.string()), ("kept", pa.string()), ("size", pa.int64()), ("reason", pa.string())]
    )
    columns = [
        [r[1] for r in rows],
        [r[0] for r in rows],
        [r[2] for r in rows],
        [r[3] for r in rows],
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    # Not parquet: downstream steps take every parquet file for a shard of documents.
    feather.write_feather(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd")


def _standings(ctx: StepContext[DedupConfig], plan: Plan, nodes: Sequence[int]) -> list[Any]:
    """Read id, source and length of documents, given in ascending order."""
    import pyarrow.parquet as pq

    from openseek.dedup.graph import Standing

    records = ctx.out.shards()
    found: list[Any] = []
    for index, rows in _by_shard(nodes).items():
        if index >= len(plan.names):
            ids = load(ctx.out, records[plan.map_id(index)], "index.npy")["id"][rows]
            found += [Standing(id.decode(), "", 0, earlier=True) for id in ids.tolist()]
            continue
        file = next(f for f in records[plan.map_id(index)].files if f.name.endswith("rows.parquet"))
        table = pq.read_table(ctx.out.local(file)).take(rows)
        found += [Standing(**r) for r in table.to_pylist()]
    return found


def _samples(
    ctx: StepContext[DedupConfig],
    plan: Plan,
    nodes: Sequence[int],
    chosen: Sequence[int],
    standings: Sequence[Any],
    reasons: Sequence[str],
) -> list[dict[str, Any]]:
    """Show the beginnings of kept and removed texts, near ones first; a fair draw by id."""
    removed = [i for i, reason in enumerate(reasons) if reason != "kept"]
    removed.sort(key=lambda i: (reasons[i] == "exact", standings[i].id))
    near = [i for i in removed if reasons[i] == "near"][: (ctx.config.samples + 1) // 2]
    others = [i for i in removed if reasons[i] == "exact"][: ctx.config.samples - len(near)]
    shown = near + others
    texts = _heads(ctx, plan, sorted({nodes[j] for i in shown for j in (i, chosen[i])}))

    def entry(i: int) -> dict[str, str]:
        return {"id": standings[i].id, "source": standings[i].source, "text": texts[nodes[i]]}

    return [{"reason": reasons[i], "kept": entry(chosen[i]), "removed": entry(i)} for i in shown]


def _heads(ctx: StepContext[DedupConfig], plan: Plan, nodes: Sequence[int]) -> dict[int, str]:
    from openseek.corpus.funnel import SAMPLE_CHARS
    from openseek.corpus.shards import iter_batches

    texts: dict[int, str] = {}
    for index, rows in _by_shard(nodes).items():
        if index >= len(plan.names):  # an index has no texts
            texts |= {(index << 32) + row: "" for row in rows}
            continue
        start = 0
        for batch in iter_batches(ctx.inputs["documents"].local(plan.names[index]), ["text"]):
            for row in rows:
                if start <= row < start + batch.num_rows:
                    text = batch.column("text")[row - start].as_py()
                    texts[(index << 32) + row] = text[:SAMPLE_CHARS]
            start += batch.num_rows
            if start > rows[-1]:
                break
    return texts


def _by_shard(nodes: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for node in nodes:
        found.setdefault(node >> 32, []).append(node & 0xFFFFFFFF)
    return found
