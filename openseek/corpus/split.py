"""Set documents aside for evaluation, before anything is trained on or made from them.

Whether a document is held out depends on its id alone, so the split is the same however the
corpus is cut into shards; the cap per category and language takes documents in the order of ids.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Json, Output, names
from openseek.compute import map_shards
from openseek.config.pipeline import HeldoutConfig
from openseek.corpus.shards import write_table


def rank(document_id: str, seed: int) -> float:
    """Draw a number in [0, 1) from a document's id; below the fraction means held out."""
    digest = hashlib.sha256(f"heldout:{seed}:{document_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split(ctx: StepContext[HeldoutConfig]) -> Json:
    """Divide the documents into `train/` and `heldout/`.

    Returns:
        Documents and bytes of both parts, by category and language.
    """
    files = ctx.inputs["documents"]
    shards = names(files, "*.parquet")
    limits = _limits(files, shards, ctx.config, ctx.seed)
    done = ctx.out.shards()
    todo = [(f"{i:06d}", name) for i, name in enumerate(shards) if f"{i:06d}" not in done]
    map_shards(
        _split_shard,
        todo,
        runtime=ctx.runtime,
        args=(files, ctx.out, limits, ctx.seed),
        progress=ctx.progress,
        done_before=len(done),
    )
    return _metrics(ctx.out)


def _limits(
    files: FileSet, shards: list[str], config: HeldoutConfig, seed: int
) -> dict[tuple[str, str], float]:
    """Find, per category and language, the rank below which documents are held out."""
    drawn: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for name in shards:
        table = pq.read_table(files.local(name), columns=["id", "category", "lang", "text"])
        sizes = pa.compute.binary_length(table["text"]).to_pylist()
        columns = (table["id"], table["category"], table["lang"])
        for key, category, lang, size in zip(*(c.to_pylist() for c in columns), sizes, strict=True):
            place = rank(key, seed)
            if place < config.fraction:
                drawn.setdefault((category, lang), []).append((place, size))
    limits = {}
    for group, items in drawn.items():
        limits[group] = config.fraction
        total = 0
        for place, size in sorted(items):
            total += size
            if total > config.max_bytes:
                limits[group] = place
                break
    return limits


def _split_shard(
    shard: tuple[str, str],
    files: FileSet,
    out: Output,
    limits: dict[tuple[str, str], float],
    seed: int,
) -> None:
    number, name = shard
    table = pq.read_table(files.local(name))
    rows = table.select(["id", "category", "lang"]).to_pylist()
    held = pa.array(
        [rank(r["id"], seed) < limits.get((r["category"], r["lang"]), 0.0) for r in rows]
    )
    parts = {"train": table.filter(pa.compute.invert(held)), "heldout": table.filter(held)}
    paths: dict[str, Path] = {}
    stats: dict[str, Any] = {}
    for part, rows in parts.items():
        path = out.scratch / f"{part}-{number}.parquet"
        write_table(path, rows)
        paths[f"{part}/{name}"] = path
        stats[part] = _count(rows)
    out.commit_shard(number, paths, rows=table.num_rows, stats=stats)


def _count(table: pa.Table) -> list[list[Any]]:
    sizes = table.append_column("bytes", pa.compute.binary_length(table["text"]))
    groups = sizes.group_by(["source", "category", "lang"]).aggregate(
        [("bytes", "sum"), ("bytes", "count")]
    )
    rows = groups.select(["source", "category", "lang", "bytes_sum", "bytes_count"]).to_pylist()
    return sorted([list(r.values()) for r in rows])


def _metrics(out: Output) -> Json:
    totals: Json = {
        part: {"documents": 0, "bytes": 0, "by_category": {}} for part in ("train", "heldout")
    }
    by_source: Json = {}
    for record in out.shards().values():
        for part, rows in record.stats.items():
            for source, category, lang, size, count in rows:
                for entry in (
                    totals[part],
                    totals[part]["by_category"].setdefault(
                        f"{category}/{lang}", {"documents": 0, "bytes": 0}
                    ),
                ):
                    entry["documents"] += count
                    entry["bytes"] += size
                line = by_source.setdefault(source, dict.fromkeys(_KEYS, 0))
                line["documents_in"] += count
                line["bytes_in"] += size
                if part == "train":
                    line["documents_out"] += count
                    line["bytes_out"] += size
    return {
        **{k: sum(line[k] for line in by_source.values()) for k in _KEYS},
        "by_source": by_source,
        "dropped": {"held out for evaluation": totals["heldout"]["documents"]},
        **totals,
    }


_KEYS = ("documents_in", "documents_out", "bytes_in", "bytes_out")
