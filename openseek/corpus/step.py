"""The ingest step: every source, whatever its format, to shards of documents.

Inputs: none; the sources are pinned in the configuration. Output: `{source}-{part:05d}.parquet`
(further ones of a part `{source}-{part:05d}-{piece:03d}.parquet`) and, for rows that could not be
used, `quarantine/` with a `.jsonl` of the same name. Each is published as soon as it is full.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import Output
from openseek.compute import map_shards
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import IngestConfig, SourceSnapshot
from openseek.corpus.parts import Part, split_source
from openseek.corpus.pieces import Progress, progress, write_pieces
from openseek.corpus.quarantine import SAMPLES, check_bad_fraction
from openseek.corpus.read import read_part
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
    records = ctx.out.shards()
    known = {p.shard: progress(p, records) for p in parts}
    todo = [Work(p, known[p.shard]) for p in parts if not known[p.shard].done]
    map_shards(
        _shard, todo, runtime=ctx.runtime, args=(ctx.out, config, ctx.runtime),
        progress=ctx.progress, unit="parts", done_before=len(parts) - len(todo),
    )  # fmt: skip
    records = ctx.out.shards()
    stats: dict[str, list[Json]] = {s.source.name: [] for s in config.sources}
    for part in parts:
        stats[part.name] += progress(part, records).pieces
    for snapshot in present:
        _check(snapshot, merge_stats(stats[snapshot.source.name]), ctx.runtime)
    return _metrics(config, stats)


@dataclass(frozen=True)
class Work:
    """A part to read, and what of it is published."""

    part: Part
    before: Progress

    def __str__(self) -> str:
        return self.part.shard


def _shard(work: Work, out: Output, config: IngestConfig, runtime: RuntimeConfig) -> None:
    """Read one part and publish its documents, shard by shard."""
    part, before = work.part, work.before
    snapshot = config.sources[part.source]
    folder = out.scratch / f"{part.shard}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        items = read_part(part, snapshot, folder, runtime)
        pieces = write_pieces(items, part, snapshot, folder, config.shard_bytes, before)
        for record, files, stats in pieces:
            out.commit_shard(record, files, rows=stats["documents_out"], stats=stats)
            for path in files.values():
                path.unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
