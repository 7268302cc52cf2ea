"""The step that turns documents into token shards; `train_tokenizer` is beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Json, Output, names
from openseek.compute import map_shards
from openseek.config.tokens import TokensConfig
from openseek.corpus.document import CATEGORIES, domain_of
from openseek.errors import DataError
from openseek.tokens.shard import (
    Row,
    encode_rows,
    pack_counts,
    segment_json,
    shard_id,
    token_dtype,
    unpack_counts,
)
from openseek.tokens.stats import count_tokens, data_metrics, unigram
from openseek.tokens.tokenizer import Tokenizer, open_tokenizer
from openseek.tokens.train import train_tokenizer

__all__ = ["tokenise", "train_tokenizer"]

INDEX_SCHEMA = 3
_SAMPLES = 5
_COLUMNS = ["id", "text", "source", "category", "lang", "tier", "meta"]


def tokenise(ctx: StepContext[TokensConfig]) -> dict[str, Any]:
    """Turn document shards into token shards and their index.

    Inputs: `documents`, `synthetic` (document shards; either may be absent), `tokenizer`.
    Output: for each document shard `x` the files of `tokens.shard`, then `index.json` (labels and
    extent of every segment) and `unigram.npy` (int64, categories x vocabulary: token counts).

    Returns:
        The metrics of a data step, `tokens` (total, by category, source, tier, lang and domain),
        `bytes_per_token`, `vocab_size`, and the unigram model's `unigram_nats_per_token` and
        `unigram_bits_per_byte`, over all and by category.
    """
    work = _work(ctx)
    done = ctx.out.shards()
    todo = [item for item in work if item[0] not in done]
    map_shards(
        _shard,
        todo,
        runtime=ctx.runtime,
        args=(dict(ctx.inputs), ctx.out, ctx.config),
        progress=ctx.progress,
        done_before=len(work) - len(todo),
    )
    records = ctx.out.shards()
    stats = [records[shard].stats for shard, _, _ in work]
    tokenizer = open_tokenizer(ctx.inputs["tokenizer"])
    counts = unpack_counts([s["counts"] for s in stats], tokenizer.vocab_size)
    metrics = data_metrics(stats)
    _refuse_too_many_bad(metrics, ctx.runtime.max_bad_fraction)
    metrics |= {"tokens": count_tokens(stats), "vocab_size": tokenizer.vocab_size}
    metrics |= {"shards": len(work), "tokenizer_digest": tokenizer.digest}
    metrics |= unigram(counts, stats)
    _publish_index(ctx, work, stats, tokenizer, counts)
    return metrics


def _publish_index(
    ctx: StepContext[TokensConfig],
    work: Sequence[tuple[str, str, str]],
    stats: Sequence[Json],
    tokenizer: Tokenizer,
    counts: np.ndarray[Any, Any],
) -> None:
    index = {
        "schema": INDEX_SCHEMA,
        "vocab_size": tokenizer.vocab_size,
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "bos_id": tokenizer.bos_id if ctx.config.bos else None,
        "eos_id": tokenizer.eos_id if ctx.config.eos else None,
        "pad_id": tokenizer.pad_id,
        "tokenizer_digest": tokenizer.digest,
        "categories": list(CATEGORIES),
        "shards": [
            {"name": shard, **{k: stat[k] for k in ("segments", "domains") if k in stat}}
            for (shard, _, _), stat in zip(work, stats, strict=True)
        ],
    }
    path = ctx.out.scratch / "index.json"
    path.write_text(json.dumps(index, ensure_ascii=False, sort_keys=True), encoding="utf-8")
    ctx.out.add("index.json", path)
    path = ctx.out.scratch / "unigram.npy"
    np.save(path, counts, allow_pickle=False)
    ctx.out.add("unigram.npy", path)


def _refuse_too_many_bad(metrics: Json, limit: float) -> None:
    bad = sum(metrics["quarantined"].values())
    if bad > limit * metrics["documents_in"]:
        raise DataError(
            f"{bad} of {metrics['documents_in']} documents cannot be tokenised: "
            f"{metrics['quarantined']}",
            where="tokenise",
            mend="Look at quarantine/*.jsonl, or raise runtime.max_bad_fraction to leave them out.",
        )


def _work(ctx: StepContext[TokensConfig]) -> list[tuple[str, str, str]]:
    """List (shard id, input, name), sorted by id."""
    work: dict[str, tuple[str, str, str]] = {}
    for kind in ("documents", "synthetic"):
        for name in names(ctx.inputs[kind], "*.parquet") if kind in ctx.inputs else []:
            shard = shard_id(name)
            if shard in work:
                raise DataError(
                    f"two document shards are called {name!r}",
                    where="tokenise",
                    mend="Rename the source that is called `synthetic`.",
                )
            work[shard] = (shard, kind, name)
    return [work[shard] for shard in sorted(work)]


def _shard(
    item: tuple[str, str, str], inputs: dict[str, FileSet], out: Output, config: TokensConfig
) -> None:
    """Tokenise one document shard."""
    shard, kind, name = item
    tokenizer = open_tokenizer(inputs["tokenizer"])
    stats: Json = {"name": name, "dropped": {}, "quarantined": {}, "samples": {}, "in": {}}
    bad: list[Json] = []
    tokens = encode_rows(_rows(inputs[kind].local(name), config, stats, bad), tokenizer, config)
    folder = out.scratch / f"{shard}-{os.getpid()}"
    files = tokens.save(folder, shard)
    if bad:
        files[f"quarantine/{shard}.jsonl"] = _write_bad(folder / "bad.jsonl", bad)
    stats |= {
        "segments": segment_json(tokens.segments),
        "counts": pack_counts(tokens.counts(tokenizer.vocab_size)),
    }
    if tokens.domains:
        stats["domains"] = tokens.domain_names
    out.commit_shard(shard, files, rows=len(tokens.ids), tokens=len(tokens.tokens), stats=stats)


def _rows(path: Path, config: TokensConfig, stats: Json, bad: list[Json]) -> Iterator[Row]:
    """Read documents; what cannot be tokenised is counted with its reason."""
    import pyarrow.parquet as pq

    for group in pq.ParquetFile(path).iter_batches(batch_size=2_000, columns=_COLUMNS):
        columns = group.to_pydict()
        for row in zip(*(columns[c] for c in _COLUMNS), strict=True):
            name, text, source, category, lang, tier, meta = row
            entry = stats["in"].setdefault(source, [0, 0, 0, 0])
            size = len((text or "").encode("utf-8"))
            entry[0] += 1
            entry[1] += size
            reason = _fault(name, text, category)
            if reason:
                stats["quarantined"][reason] = stats["quarantined"].get(reason, 0) + 1
                bad.append({"id": name, "source": source, "reason": reason})
            elif not text:
                _drop(stats, "empty", {"id": name, "source": source, "text": ""})
            else:
                entry[2] += 1
                entry[3] += size
                domain = domain_of(meta) if config.domains else ""
                yield Row(name, text, (source, category, lang, tier or ""), domain)


def _fault(name: str | None, text: str | None, category: str) -> str:
    if not name:
        return "no_id"
    if text is None:
        return "no_text"
    return "" if category in CATEGORIES else "unknown_category"


def _drop(stats: Json, reason: str, sample: Json) -> None:
    stats["dropped"][reason] = stats["dropped"].get(reason, 0) + 1
    samples = stats["samples"].setdefault(reason, [])
    if len(samples) < _SAMPLES:
        samples.append(sample)


def _write_bad(path: Path, bad: Sequence[Json]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in bad)
    path.write_text("".join(lines), encoding="utf-8")
    return path
