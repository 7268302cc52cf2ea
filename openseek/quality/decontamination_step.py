"""The `decontaminate` step: no evaluation item and no held-out text goes into training."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, names
from openseek.compute import map_shards
from openseek.config.quality import DecontaminationConfig
from openseek.corpus.shards import TableWriter
from openseek.quality.decontamination import (
    Decontaminator,
    Match,
    index_documents,
    index_items,
)
from openseek.quality.items import load_items
from openseek.quality.ngram_index import NgramIndex
from openseek.quality.tables import (
    Funnel,
    json_line,
    read_table,
    shard_id,
    tables,
    text_buffer,
)

LISTING = "contamination.jsonl"


def decontaminate(ctx: StepContext[DecontaminationConfig]) -> dict[str, Any]:
    """Drop documents that hold evaluation items or are near-duplicates of held-out documents.

    Inputs `documents`, `benchmarks` and, optionally, `heldout`; output the documents' file names
    (without folders) and `contamination.jsonl` with every matched stretch.
    """
    documents = ctx.inputs["documents"]
    shards = names(documents, "*.parquet")
    done = ctx.out.shards()
    items, per_task = load_items(ctx.inputs["benchmarks"])
    index = index_items(items, ctx.config)
    if todo := [n for n in shards if _id(n) not in done]:
        judge = Decontaminator(ctx.config, index, _heldout_index(ctx))
        map_shards(
            _shard, todo, runtime=ctx.runtime, args=(documents, ctx.out, judge),
            progress=ctx.progress, done_before=len(shards) - len(todo),
        )  # fmt: skip
        done = ctx.out.shards()
    _join_listings(ctx.out, [f"{_id(n)}-matches" for n in shards])
    stats = [done[_id(n)].stats for n in shards]
    by_task: dict[str, int] = {}
    for shard in stats:
        for task, count in shard["by_task"].items():
            by_task[task] = by_task.get(task, 0) + count
    return Funnel.total(stats) | {
        "items": per_task,
        "items_too_short": index.too_short,
        "documents_by_task": dict(sorted(by_task.items())),
    }


def _id(name: str) -> str:
    return shard_id(Path(name).name)


def _heldout_index(ctx: StepContext[DecontaminationConfig]) -> NgramIndex | None:
    heldout = ctx.inputs.get("heldout")
    if heldout is None:
        return None
    held = [read_table(heldout.local(n)) for n in names(heldout, "*.parquet")]
    ids = [i for t in held for i in t["id"].to_pylist()]
    texts = [x for t in held for x in t["text"].to_pylist()]
    return index_documents(ids, texts, ctx.config)


def _shard(name: str, documents: FileSet, out: Output, judge: Decontaminator) -> None:
    stem, pid = _id(name), os.getpid()
    funnel, by_task = Funnel(), dict[str, int]()
    path, listing = out.scratch / f"{stem}-{pid}.parquet", out.scratch / f"{stem}-{pid}.jsonl"
    with TableWriter(path) as writer, listing.open("w", encoding="utf-8") as lines:
        for table in tables(documents.local(name)):
            buf, offsets = text_buffer(table["text"])
            found = judge.check_buffer(buf, offsets)
            sources, ids = table["source"].to_pylist(), table["id"].to_pylist()
            sizes = np.diff(offsets)
            funnel.count("in", sources, sizes)
            for row in [i for i, matches in enumerate(found) if matches]:
                _note(funnel, by_task, table, row, found[row])
                lines.writelines(
                    json_line({"id": ids[row], "source": sources[row]} | asdict(match))
                    for match in found[row]
                )
            kept = np.array([i for i, matches in enumerate(found) if not matches], np.int64)
            funnel.count("out", [sources[i] for i in kept], sizes[kept])
            writer.add(table.take(kept))
    out.commit_shard(f"{stem}-matches", {f"matches/{stem}.jsonl": listing}, final=False)
    out.commit_shard(
        stem, {Path(name).name: path}, rows=writer.rows, stats=funnel.stats() | {"by_task": by_task}
    )


def _note(
    funnel: Funnel, by_task: dict[str, int], table: pa.Table, row: int, matches: list[Match]
) -> None:
    for task in {m.task: None for m in matches}:
        by_task[task] = by_task.get(task, 0) + 1
    first = matches[0]
    reason = "heldout" if all(m.task == "heldout" for m in matches) else "benchmark"
    funnel.note(
        "dropped", reason, id=table["id"][row].as_py(), source=table["source"][row].as_py(),
        text=first.text, task=first.task, item=first.item, share=first.share,
    )  # fmt: skip


def _join_listings(out: Output, shards: list[str]) -> None:
    done = out.shards()
    path = out.scratch / f"{os.getpid()}-{LISTING}"
    with path.open("wb") as whole:
        for shard in shards:
            if shard in done:
                with out.local(done[shard].files[0]).open("rb") as part:
                    shutil.copyfileobj(part, whole)
    out.add(LISTING, path)
