"""The cleaning step: one shard in, one shard of the same name out, rows in the same order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, names
from openseek.cleaning.words import WordMatcher, load_words
from openseek.compute import map_shards
from openseek.config.cleaning import CleaningConfig
from openseek.corpus.quarantine import KEPT_CHARS

VERSION = 3
"""Raise when the output of this step changes for the same configuration and input."""


PART_BYTES = 16_000_000
"""Text that is cleaned together, in bytes: the compiled passes take some 20 times as much."""


def clean(ctx: StepContext[CleaningConfig]) -> dict[str, Any]:
    """Clean all documents.

    Input `documents`: shards of documents. Output: shards of the same names, and
    `quarantine/{name}.jsonl` for rows that could not be read.

    Returns:
        Metrics: documents and bytes in and out, by source; `dropped` and `changed` documents by
        reason; `masked` occurrences by kind; `flagged` documents by label; `rule_hits`: documents
        that fail each rule, whether or not an earlier rule dropped them; `languages` by tag.
    """
    from openseek.corpus.funnel import merge_stats
    from openseek.corpus.quarantine import check_bad_fraction

    files = ctx.inputs["documents"]
    shards = names(files, "*.parquet")
    done = ctx.out.shards()
    missing = [name for name in shards if shard_id(name) not in done]
    map_shards(
        clean_shard,
        missing,
        runtime=ctx.runtime,
        args=(files, ctx.out, ctx.config, load_words(ctx.config.words)),
        progress=ctx.progress,
        done_before=len(shards) - len(missing),
    )
    records = ctx.out.shards()
    funnel = merge_stats(
        (records[shard_id(name)].stats for name in shards), samples=ctx.config.samples
    )
    metrics = funnel.metrics("masked", "flagged", "rule_hits", "languages")
    check_bad_fraction(
        metrics["quarantined"],
        metrics["documents_in"],
        ctx.runtime.max_bad_fraction,
        where="clean",
        samples=metrics["samples"],
    )
    return metrics


def shard_id(name: str) -> str:
    """Name the shard of an input file."""
    return PurePosixPath(name).with_suffix("").as_posix().replace("/", "-").replace(".", "_")


def clean_shard(
    name: str, files: FileSet, out: Output, config: CleaningConfig, words: WordMatcher
) -> None:
    """Clean one shard and commit it."""
    from openseek.cleaning.cleaner import Cleaner
    from openseek.corpus.funnel import Funnel
    from openseek.corpus.quarantine import Quarantine
    from openseek.corpus.shards import DocumentWriter, iter_batches

    shard = shard_id(name)
    cleaner = Cleaner(config, words)
    funnel = Funnel(config.samples)
    path = out.scratch / f"{shard}-{os.getpid()}.parquet"
    bad = out.scratch / f"{shard}-{os.getpid()}.jsonl"
    with Quarantine(bad) as quarantine, DocumentWriter(path) as writer:
        for whole in iter_batches(files.local(name)):
            batch = _without_longest(whole, config.max_document, funnel, quarantine)
            for part in _parts(batch, config.batch_rows):
                for row in _clean_rows(part.to_pylist(), cleaner, funnel, quarantine):
                    writer.add(row)
        for reason, n in quarantine.counts.items():
            funnel.count("quarantined", reason, n)
    produced = {name: path}
    if quarantine.total:
        produced[f"quarantine/{shard}.jsonl"] = bad
    out.commit_shard(shard, produced, rows=writer.rows, stats=funnel.stats())


def _without_longest(batch: Any, limit: int, funnel: Any, quarantine: Any) -> Any:
    """Set documents aside that would fill the memory; their texts are never made."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = pc.fill_null(pc.binary_length(batch["text"]), 0).to_numpy(zero_copy_only=False)
    if not (sizes > limit).any():
        return batch
    for i in np.flatnonzero(sizes > limit).tolist():
        row = {name: batch[name][i].as_py() or "" for name in ("id", "source", "origin")}
        beginning = batch["text"][i].as_buffer()[: 4 * KEPT_CHARS].to_pybytes()
        funnel.document(row["source"], int(sizes[i]), None)
        quarantine.add(
            f"text longer than {limit} bytes", text=beginning.decode("utf-8", "ignore"), **row
        )
    return batch.filter(pa.array(sizes <= limit))


def _parts(batch: Any, rows: int) -> Iterator[Any]:
    """Cut a record batch into pieces of at most so many rows and, a row or more, `PART_BYTES`."""
    import pyarrow.compute as pc

    start = size = 0
    for i, n in enumerate(pc.binary_length(batch["text"]).to_pylist()):
        if i > start and (i - start >= rows or size + (n or 0) > PART_BYTES):
            yield batch.slice(start, i - start)
            start, size = i, 0
        size += n or 0
    if batch.num_rows > start:
        yield batch.slice(start)


def _clean_rows(
    rows: list[dict[str, Any]], cleaner: Any, funnel: Any, quarantine: Any
) -> list[dict[str, Any]]:
    good = []
    for row in rows:
        if row["text"] is None or row["id"] is None:
            funnel.document(row["source"] or "", 0, None)
            quarantine.add(
                "no text" if row["text"] is None else "no id",
                source=row["source"] or "",
                origin=row["origin"] or "",
                id=row["id"] or "",
            )
        else:
            good.append(row)
    results = cleaner.clean(
        [r["text"] for r in good],
        [r["lang"] for r in good],
        [r["category"] for r in good],
        [r["source"] for r in good],
    )
    kept = []
    for row, result in zip(good, results, strict=True):
        _count(row, result, funnel)
        if not result.reason:
            kept.append(_cleaned(row, result))
    return kept


def _cleaned(row: Mapping[str, Any], result: Any) -> dict[str, Any]:
    cleaned = {**row, "text": result.text, "lang": result.lang}
    if result.flags or result.lang != row["lang"]:
        meta = json.loads(row["meta"] or "{}")
        if result.flags:
            meta["flags"] = result.flags
        if result.lang != row["lang"]:
            meta["lang_declared"] = row["lang"]
        cleaned["meta"] = json.dumps(meta, ensure_ascii=False, sort_keys=True)
    return cleaned


def _count(row: Mapping[str, Any], result: Any, funnel: Any) -> None:
    source, id_ = row["source"], row["id"]
    size_out = None if result.reason else _size(result.text)
    funnel.document(source, _size(row["text"]), size_out)
    for rule in result.failed:
        funnel.count("rule_hits", rule)
    if result.reason:
        funnel.count("dropped", result.reason)
        _sample(funnel, result.reason, id_, source, result.text)
        return
    funnel.count("languages", result.lang)
    _sample(funnel, "kept", id_, source, result.text)
    for label in result.flags:
        funnel.count("flagged", label)
        _sample(funnel, f"flagged.{label}", id_, source, result.text)
    for change, n in result.changes.items():
        funnel.count("changed", change)
        if change.startswith(("pii.", "words")):
            funnel.count("masked", change.removeprefix("pii."), n)
        if funnel.wants_sample(change, id_):
            _sample(funnel, change, id_, source, _around_change(row["text"], result.text))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _sample(funnel: Any, reason: str, id_: str, source: str, text: str) -> None:
    from openseek.cleaning.pii import PLACEHOLDERS, mask_pii

    if funnel.wants_sample(reason, id_):
        # A report is passed on more freely than a corpus, so nothing personal goes into it.
        shown, _ = mask_pii(text[:1000], tuple(PLACEHOLDERS))
        funnel.sample(reason, id=id_, source=source, text=shown)


def _around_change(before: str, after: str) -> str:
    low, high = 0, min(len(before), len(after))
    while low < high:  # the longest common beginning, by halves
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return after[max(0, low - 80) : low + 400]
