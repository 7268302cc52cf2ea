"""Corpora of any size out of a folder of documents: whole documents, again and again.

Documents come in an order that is drawn once, so that a small corpus is a fair sample of a large
one. A copy has an id of its own; in the shuffled variant it also has its words in another order,
so that it is no duplicate of anything (whatever is one in the folder stays one).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SHARD_BYTES = 10_000_000
"""Text of a shard: two workers have the same to do from 20 MB on."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")


def read(folder: Path) -> pa.Table:
    """Read all documents of a folder in the drawn order."""
    tables = [pq.read_table(p) for p in sorted(folder.glob("*.parquet"))]
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))


def write(
    table: pa.Table,
    out: Path,
    n_bytes: int,
    *,
    shuffle: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write a corpus.

    Args:
        table: What `read` returned.
        out: Folder to make.
        n_bytes: Size of its text, in bytes; the last document goes beyond it.
        shuffle: Shuffle the words of all copies but the first.
        shard_bytes: Size of a shard's text.

    Returns:
        Its size.
    """
    out.mkdir(parents=True)
    sizes = pc.binary_length(table["text"]).to_numpy()
    work = partial(_write_shard, out=out, shuffle=shuffle)
    total = 0
    with ProcessPoolExecutor(2) as pool:
        results = []
        for number, (copy, start, rows, size) in enumerate(_cuts(sizes, n_bytes, shard_bytes)):
            part = table.take(pa.array(range(start, start + rows)))  # a slice would travel whole
            results.append(pool.submit(work, part, number, copy))
            total += size
            if len(results) > 3:
                results.pop(0).result()  # slices in flight are held twice
        for result in results:
            result.result()
    return total


def _cuts(sizes: np.ndarray, n_bytes: int, shard_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number of the copy, first row, rows, bytes) of the shards; none spans two copies."""
    ends, left, copy = np.cumsum(sizes), n_bytes, 0
    while left > 0:
        start = done = 0
        while start < len(sizes) and left > 0:
            end = int(np.searchsorted(ends, done + min(shard_bytes, left))) + 1
            end = min(end, len(sizes))
            size = int(ends[end - 1]) - done
            yield copy, start, end - start, size
            start, done, left = end, int(ends[end - 1]), left - size
        copy += 1


def _write_shard(part: pa.Table, number: int, copy: int, *, out: Path, shuffle: bool) -> None:
    from openseek.corpus.shards import write_table

    if copy:
        ids = [f"{copy:08x}{id[8:]}" for id in part["id"].to_pylist()]
        part = _with(part, "id", ids)
        if shuffle:
            texts = part["text"].to_pylist()
            part = _with(part, "text", [shuffled(t, i) for t, i in zip(texts, ids, strict=True)])
    write_table(out / f"web-{number:05d}.parquet", part)


def _with(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, pa.array(values, field.type))


def shuffled(text: str, seed: str) -> str:
    """Put the words of a text, or its Chinese and Japanese characters, in another order."""
    words = _WORD.findall(text)
    random.Random(seed).shuffle(words)
    return " ".join(words)


def write_items(table: pa.Table, out: Path, n: int = 1000) -> None:
    """Write evaluation items, every one of them 20 words of a document."""
    out.mkdir(parents=True)
    with (out / "drawn.jsonl").open("w", encoding="utf-8") as f:
        for i, text in enumerate(table["text"].slice(0, 20 * n).to_pylist()[::20]):
            words = text.split()[10:30]
            item = {"id": str(i), "query": " ".join(words[:15]), "answer": " ".join(words[15:])}
            f.write(json.dumps(item, ensure_ascii=False) + "\n")
