"""Set documents aside for evaluation, before anything is trained on or made from them.

Whether a document is held out depends on its id alone, so the split is the same however the
corpus is cut into shards; the cap per category and language takes documents in the order of ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Json, Output, names
from openseek.compute import map_shards
from openseek.config.pipeline import HeldoutConfig
from openseek.corpus.shards import TableWriter, iter_batches


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
    done = ctx.out.shards()
    todo = [(f"{i:06d}", name) for i, name in enumerate(shards) if f"{i:06d}" not in done]
    limits = _limits(ctx, files, shards) if todo else {}
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
    ctx: StepContext[HeldoutConfig], files: FileSet, shards: list[str]
) -> dict[tuple[str, str], float]:
    """Find, per category and language, the rank below which documents are held out."""
    found = map_shards(
        _draw_shard, shards, runtime=ctx.runtime, args=(files, ctx.config.fraction, ctx.seed),
        progress=ctx.progress, unit="shards drawn from",
    )  # fmt: skip
    drawn: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for shard in found:
        for group, items in shard.items():
            drawn.setdefault(group, []).extend(items)
    limits = {}
    for group, items in drawn.items():
        limits[group] = ctx.config.fraction
        total = 0
        for place, size in sorted(items):
            total += size
            if total > ctx.config.max_bytes:
                limits[group] = place
                break
    return limits


def _draw_shard(
    name: str, files: FileSet, fraction: float, seed: int
) -> dict[tuple[str, str], list[tuple[float, int]]]:
    """Rank a shard's documents; return rank and bytes of those below the fraction."""
    drawn: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for batch in iter_batches(files.local(name), ["id", "category", "lang", "text"]):
        sizes = pc.binary_length(batch["text"]).to_pylist()
        columns = (batch[c].to_pylist() for c in ("id", "category", "lang"))
        for key, category, lang, size in zip(*columns, sizes, strict=True):
            place = rank(key, seed)
            if place < fraction:
                drawn.setdefault((category, lang), []).append((place, size))
    return drawn


def _split_shard(
    shard: tuple[str, str],
    files: FileSet,
    out: Output,
    limits: dict[tuple[str, str], float],
    seed: int,
) -> None:
    number, name = shard
    paths = {part: out.scratch / f"{part}-{number}.parquet" for part in _PARTS}
    counts = {part: Counter[tuple[str, str, str, str]]() for part in _PARTS}
    with TableWriter(paths["train"]) as train, TableWriter(paths["heldout"]) as heldout:
        for batch in iter_batches(files.local(name)):
            table = pa.Table.from_batches([batch])
            rows = table.select(["id", "category", "lang"]).to_pylist()
            held = pa.array(
                [rank(r["id"], seed) < limits.get((r["category"], r["lang"]), 0.0) for r in rows]
            )
            for writer, part, chosen in (
                (train, "train", pc.invert(held)), (heldout, "heldout", held)
            ):  # fmt: skip
                mine = table.filter(chosen)
                writer.add(mine)
                _count(mine, counts[part])
    stats = {
        part: sorted([*group, counts[part][(*group, "bytes")], counts[part][(*group, "documents")]]
                     for group in {key[:3] for key in counts[part]})
        for part in _PARTS
    }  # fmt: skip
    produced = {f"{part}/{name}": paths[part] for part in _PARTS}
    out.commit_shard(number, produced, rows=train.rows + heldout.rows, stats=stats)


def _count(table: pa.Table, counts: Counter[tuple[str, str, str, str]]) -> None:
    sizes = table.append_column("bytes", pc.binary_length(table["text"]))
    groups = sizes.group_by(["source", "category", "lang"]).aggregate(
        [("bytes", "sum"), ("bytes", "count")]
    )
    for row in groups.to_pylist():
        group = (row["source"], row["category"], row["lang"])
        counts[(*group, "bytes")] += row["bytes_sum"]
        counts[(*group, "documents")] += row["bytes_count"]


def _metrics(out: Output) -> Json:
    totals: Json = {part: {"documents": 0, "bytes": 0, "by_category": {}} for part in _PARTS}
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


_PARTS = ("train", "heldout")
_KEYS = ("documents_in", "documents_out", "bytes_in", "bytes_out")
