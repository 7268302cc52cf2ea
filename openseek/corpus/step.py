"""The ingest step: every source, whatever its format, to shards of documents.

Inputs: none; the sources are pinned in the configuration. Output: `{source}-{part:05d}.parquet`
(further ones of a part `{source}-{part:05d}-{piece:03d}.parquet`) and, for rows that could not be
used, `quarantine/{source}-{part:05d}.jsonl`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import Output
from openseek.compute import map_shards
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import IngestConfig, SourceConfig, SourceSnapshot
from openseek.corpus.parts import Part, split_source
from openseek.corpus.quarantine import SAMPLE_CHARS, SAMPLES, Quarantine, check_bad_fraction
from openseek.corpus.read import read_part
from openseek.corpus.readers import Bad, Row
from openseek.corpus.shards import DocumentWriter, make_document
from openseek.errors import DataError

Json = dict[str, Any]


def ingest(ctx: StepContext[IngestConfig]) -> Json:
    """Read all sources into shards of documents and return the counts.

    Raises:
        DataError: No source could be had, one gave no document, or too many rows are bad.
    """
    config = ctx.config
    present = [s for s in config.sources if not s.missing]
    for snapshot in config.sources:
        if snapshot.missing:
            ctx.log.warning("source=%s missing=%s", snapshot.source.name, snapshot.missing)
    if not present:
        raise DataError(
            "none of the sources could be had: "
            + "; ".join(f"{s.source.name}: {s.missing}" for s in config.sources),
            where="ingest",
            mend="Check the network, or give a local `path`.",
        )
    parts = [
        part
        for i, snapshot in enumerate(config.sources)
        if not snapshot.missing
        for part in split_source(i, snapshot, config.shard_bytes)
    ]
    done = ctx.out.shards()
    todo = [p for p in parts if p.shard not in done]
    map_shards(
        _shard, todo, runtime=ctx.runtime, args=(ctx.out, config, ctx.runtime),
        progress=ctx.progress, unit="parts", done_before=len(parts) - len(todo),
    )  # fmt: skip
    records = ctx.out.shards()
    stats: dict[str, list[Json]] = {s.source.name: [] for s in config.sources}
    for part in parts:
        stats[part.name].append(records[part.shard].stats)
    for snapshot in present:
        _check(snapshot, merge_stats(stats[snapshot.source.name]), ctx.runtime)
    return _metrics(config, stats)


def _shard(part: Part, out: Output, config: IngestConfig, runtime: RuntimeConfig) -> None:
    """Read one part and publish its documents."""
    snapshot = config.sources[part.source]
    folder = out.scratch / f"{part.shard}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        items = read_part(part, snapshot, folder, runtime)
        pieces, stats = write_part(items, part, snapshot, folder, config.shard_bytes)
        quarantine = folder / "quarantine.jsonl"
        if quarantine.exists():
            pieces[f"quarantine/{part.shard}.jsonl"] = quarantine
        out.commit_shard(part.shard, pieces, rows=stats["documents_out"], stats=stats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_part(
    items: Iterator[Row | Bad], part: Part, snapshot: SourceSnapshot, folder: Path, shard_bytes: int
) -> tuple[dict[str, Path], Json]:
    """Write what a reader gives to parquet files of at most `shard_bytes` of text (and a document).

    Returns:
        Logical name -> local path of the files, and the statistics.
    """
    source = snapshot.source
    stats: Json = {
        "documents_in": 0,
        "documents_out": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "dropped": {},
        "samples": {},
    }
    pieces: dict[str, Path] = {}
    writer: DocumentWriter | None = None
    with Quarantine(folder / "quarantine.jsonl") as quarantine:
        for item in items:
            row = _usable(item, source, snapshot.label, stats, quarantine)
            if row is None:
                continue
            size = len(row.text.encode("utf-8"))
            if (
                part.limit is not None
                and stats["bytes_out"]
                and stats["bytes_out"] + size > part.limit
            ):
                break
            if writer is None or (writer.rows and writer.text_bytes + size > shard_bytes):
                writer = _next_piece(writer, part, pieces, folder)
            writer.add(_document(row, snapshot))
            stats["documents_out"] += 1
            stats["bytes_out"] += size
        (writer or _next_piece(None, part, pieces, folder)).close()
    stats["quarantined"] = dict(sorted(quarantine.counts.items()))
    stats["samples"].update(quarantine.samples)
    return pieces, stats


def _next_piece(
    writer: DocumentWriter | None, part: Part, pieces: dict[str, Path], folder: Path
) -> DocumentWriter:
    if writer is not None:
        writer.close()
    name = f"{part.shard}-{len(pieces):03d}.parquet" if pieces else f"{part.shard}.parquet"
    pieces[name] = folder / name
    return DocumentWriter(folder / name)


def _usable(
    item: Row | Bad, source: SourceConfig, label: str, stats: Json, quarantine: Quarantine
) -> Row | None:
    """Count an item and return it if it can become a document."""
    stats["documents_in"] += 1
    origin = _origin(label, item.locator)
    if isinstance(item, Bad):
        quarantine.add(item.reason, source=source.name, origin=origin, text=item.text)
        return None
    try:
        size = len(item.text.encode("utf-8"))
    except UnicodeEncodeError:
        quarantine.add("lone surrogate", source=source.name, origin=origin, text=item.text)
        return None
    stats["bytes_in"] += size
    if size > source.max_document:
        reason = f"text longer than {source.max_document} bytes"
        quarantine.add(reason, source=source.name, origin=origin, text=item.text)
        return None
    stripped = len(item.text.strip())
    if stripped < max(1, source.text.min_chars):
        reason = "too short" if stripped else "empty"
        stats["dropped"][reason] = stats["dropped"].get(reason, 0) + 1
        samples = stats["samples"].setdefault(reason, [])
        if len(samples) < SAMPLES:
            samples.append(
                {
                    "id": "",
                    "source": source.name,
                    "origin": origin,
                    "text": item.text[:SAMPLE_CHARS],
                }
            )
        return None
    return item


def _origin(label: str, locator: str) -> str:
    return label + locator if not label or label.endswith(":") else f"{label}/{locator}"


def _document(row: Row, snapshot: SourceSnapshot) -> Json:
    source = snapshot.source
    return make_document(
        row.text,
        source=source.name,
        category=source.category,
        lang=source.lang,
        license=source.license,
        origin=row.origin or _origin(snapshot.label, row.locator),
        locator=row.locator,
        tier=source.tier,
        meta=row.meta,
    )


def merge_stats(stats: list[Json]) -> Json:
    """Sum up the statistics of a source's parts, in their order."""
    total: Json = {
        k: sum(s[k] for s in stats)
        for k in ("documents_in", "documents_out", "bytes_in", "bytes_out")
    }
    for group in ("dropped", "quarantined"):
        reasons = sorted({r for s in stats for r in s[group]})
        total[group] = {r: sum(s[group].get(r, 0) for s in stats) for r in reasons}
    reasons = sorted({r for s in stats for r in s["samples"]})
    total["samples"] = {
        r: [x for s in stats for x in s["samples"].get(r, [])][:SAMPLES] for r in reasons
    }
    return total


def _check(snapshot: SourceSnapshot, total: Json, runtime: RuntimeConfig) -> None:
    where = f"ingest of {snapshot.source.name}"
    check_bad_fraction(
        total["quarantined"],
        total["documents_in"],
        runtime.max_bad_fraction,
        where=where,
        samples=total["samples"],
    )
    if not total["documents_out"]:
        raise DataError(
            f"no document in {len(snapshot.files)} files (rows: {total['documents_in']}, dropped: "
            f"{total['dropped'] or 'none'}, quarantined: {total['quarantined'] or 'none'})",
            where=where, mend="Is the source empty? Check its files, columns and text settings.",
        )  # fmt: skip


def _metrics(config: IngestConfig, stats: dict[str, list[Json]]) -> Json:
    by_source = {name: merge_stats(found) for name, found in stats.items()}
    total = merge_stats(list(by_source.values()))
    counts = ("documents_in", "documents_out", "bytes_in", "bytes_out")
    sources = [
        {
            "name": s.source.name, "category": s.source.category, "lang": s.source.lang,
            "license": s.source.license, "from": s.label, "files": len(s.files),
            "documents": by_source[s.source.name]["documents_out"],
            "bytes": by_source[s.source.name]["bytes_out"], "missing": s.missing,
        }
        for s in config.sources
    ]  # fmt: skip
    return {
        **total,
        "changed": {},
        "by_source": {name: {k: found[k] for k in counts} for name, found in by_source.items()},
        "sources": sources,
    }
