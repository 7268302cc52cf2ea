"""The passes of deduplication over shards, each resumable on its own.

    map      shard -> rows (id, source, chars), band keys and digests, cut into partitions
    pairs    partition -> candidate pairs and exact pairs of all shards
    shingles shard -> shingle sets of the documents that are in a pair     (only to verify)
    verify   shard -> pairs whose second document is in it and that are similar
    filter   shard -> its documents without the removed ones

A document is a number: index of its shard (in the order of names) * 2^32 + row.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.files import FileSet, Output, ShardRecord
from openseek.config.dedup import DedupConfig

SHARD_BITS = np.uint64(32)
_BAND_KEY = np.dtype([("key", "<u8"), ("doc", "<u8")])
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("doc", "<u8")])


@dataclass(frozen=True)
class Plan:
    """What all passes share: the shards in order, and the number of partitions."""

    names: tuple[str, ...]
    partitions: int

    def shard(self, index: int) -> str:
        """Name a shard in records and files."""
        name = PurePosixPath(self.names[index]).with_suffix("").as_posix()
        return name.replace("/", "-").replace(".", "_")

    def map_id(self, index: int) -> str:
        """Name the record of the first pass; keys cut into other partitions are of no use."""
        return f"map-{self.partitions}-{self.shard(index)}"

    def pairs_id(self, partition: int) -> str:
        """Name the record of a partition."""
        return f"pairs-{self.partitions}-{partition}"


def map_shard(index: int, files: FileSet, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Compute digests and band keys of a shard's documents, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from openseek.corpus.shards import iter_batches
    from openseek.dedup.duplicates import digest_parts
    from openseek.dedup.minhash import exact_digest, keys_of_bands, pack, sign

    shard = plan.map_id(index)
    rows_path = out.scratch / f"{shard}-{os.getpid()}.parquet"
    schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("chars", pa.int64())])
    bands, digests, start = [], [], index << 32
    with pq.ParquetWriter(rows_path, schema, compression="zstd") as rows:
        for batch in iter_batches(files.local(plan.names[index]), ["id", "text", "source"]):
            texts = batch.column("text").to_pylist()
            docs = np.arange(start, start + len(texts), dtype=np.uint64)
            start += len(texts)
            chars = pa.array([len(t) for t in texts], pa.int64())
            rows.write_batch(
                pa.record_batch([batch.column("id"), batch.column("source"), chars], schema)
            )
            if config.exact:
                high, low = digest_parts([exact_digest(t) for t in texts])
                digests.append(_records(_DIGEST, high, low, docs))
            if config.near:
                table, shingles = sign(*pack(texts), config)
                keys = keys_of_bands(table, config)[shingles > 0]
                doc = np.repeat(docs[shingles > 0], config.bands)
                bands.append(_records(_BAND_KEY, keys.ravel(), doc))
    produced = {f"{shard}/rows.parquet": rows_path}
    produced |= _partitioned(out, shard, "bands", _joined(bands, _BAND_KEY), "key", plan)
    produced |= _partitioned(out, shard, "digests", _joined(digests, _DIGEST), "high", plan)
    stats = {"documents": start - (index << 32)}
    out.commit_shard(shard, produced, rows=stats["documents"], stats=stats, final=False)


def pair_partition(partition: int, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Bring a partition's keys of all shards together and write the pairs they make."""
    from openseek.dedup.graph import forest, star_pairs

    records = out.shards()
    found = {}
    for kind in ("bands", "digests"):
        keys = [
            load(out, records[plan.map_id(i)], f"{kind}-{partition:05d}.npy")
            for i in range(len(plan.names))
        ]
        table = np.concatenate(keys)
        parts = [table[f] for f in ("low", "high", "key") if f in (table.dtype.names or ())]
        found[kind] = star_pairs(parts, table["doc"])
    if not config.verify:
        found["bands"] = forest(found["bands"])
    shard = plan.pairs_id(partition)
    produced = save(
        out,
        shard,
        {
            "near": found["bands"],
            "exact": forest(found["digests"]),
            "involved": np.unique(found["bands"]),
        },
    )
    out.commit_shard(shard, produced, stats={"pairs": len(found["bands"])}, final=False)


def shingle_shard(index: int, files: FileSet, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Write the shingle sets of those documents of a shard that are in a candidate pair."""
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.kernels import shingle_sets
    from openseek.dedup.minhash import pack

    wanted = _of_shard_in_pairs(out, plan, index)
    local = (wanted & np.uint64(0xFFFFFFFF)).astype(np.int64)
    sets, sizes, start = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)], 0
    if local.size:
        for batch in iter_batches(files.local(plan.names[index]), ["text"]):
            here = local[(local >= start) & (local < start + batch.num_rows)] - start
            start += batch.num_rows
            if here.size:
                texts = batch.column("text").take(here).to_pylist()
                values, starts = shingle_sets(*pack(texts), config.ngram)
                sets.append(values)
                sizes.append(np.diff(starts))
    shard = f"shingles-{plan.shard(index)}"
    offsets = np.cumsum(np.concatenate(sizes))
    produced = save(
        out, shard, {"docs": wanted, "offsets": offsets, "values": np.concatenate(sets)}
    )
    out.commit_shard(shard, produced, stats={"documents": int(wanted.size)}, final=False)


def verify_shard(index: int, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Keep the candidate pairs that are similar, of those whose second document is in a shard."""
    from openseek.dedup.graph import unique_pairs
    from openseek.dedup.kernels import jaccard

    records = out.shards()
    low, high = np.uint64(index << 32), np.uint64((index + 1) << 32)
    pairs = [np.empty((0, 2), np.uint64)]
    for p in range(plan.partitions):
        table = load(out, records[plan.pairs_id(p)], "near.npy")  # sorted by the second document
        first, last = np.searchsorted(table[:, 1], [low, high])
        pairs.append(np.asarray(table[first:last]))
    candidates = unique_pairs(np.concatenate(pairs))
    sets = _ShingleSets(out, records, plan)
    similar = [
        jaccard(sets.of(int(a)), sets.of(int(b))) >= config.min_jaccard
        for a, b in candidates.tolist()
    ]
    shard = f"verify-{plan.shard(index)}"
    produced = save(out, shard, {"near": candidates[np.array(similar, np.bool_)]})
    stats = {"candidates": len(similar), "similar": sum(similar)}
    out.commit_shard(shard, produced, stats=stats, final=False)


def filter_shard(index: int, files: FileSet, out: Output, plan: Plan) -> None:
    """Write a shard's documents without the removed ones."""
    from openseek.corpus.funnel import Funnel
    from openseek.corpus.shards import DocumentWriter, read_documents

    removed = load(out, out.shards()["components"], "removed.npy")
    kinds = load(out, out.shards()["components"], "exact.npy")
    first, last = np.searchsorted(removed, [np.uint64(index << 32), np.uint64((index + 1) << 32)])
    rows = (np.asarray(removed[first:last]) & np.uint64(0xFFFFFFFF)).tolist()
    reasons = dict(zip(rows, np.asarray(kinds[first:last]).tolist(), strict=True))
    funnel = Funnel(0)
    shard = plan.shard(index)
    path = out.scratch / f"{shard}-{os.getpid()}.parquet"
    with DocumentWriter(path) as writer:
        for i, row in enumerate(read_documents(files.local(plan.names[index]))):
            size = len(row["text"].encode())
            funnel.document(row["source"], size, None if i in reasons else size)
            if i in reasons:
                funnel.count("dropped", "exact" if reasons[i] else "near")
            else:
                writer.add(row)
    out.commit_shard(shard, {plan.names[index]: path}, rows=writer.rows, stats=funnel.stats())


def load(out: Output, record: ShardRecord, name: str) -> NDArray[Any]:
    """Map an array that an earlier pass committed; it is read only where it is touched."""
    for file in record.files:
        if PurePosixPath(file.name).name == name:
            path = out.local(file)
            array = np.load(path, allow_pickle=False)
            return np.asarray(array) if array.size == 0 else np.load(path, mmap_mode="r")
    raise KeyError(f"{record.shard} has no file {name}")


def save(out: Output, shard: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Path]:
    """Write arrays to scratch files, for a commit under their names."""
    produced = {}
    for name, array in arrays.items():
        path = out.scratch / f"{shard}-{name}-{os.getpid()}.npy"
        np.save(path, array, allow_pickle=False)
        produced[f"{shard}/{name}.npy"] = path
    return produced


class _ShingleSets:
    """Shingle sets of documents of all shards; files are mapped when they are first needed."""

    def __init__(self, out: Output, records: Mapping[str, ShardRecord], plan: Plan) -> None:
        self._out, self._records, self._plan = out, records, plan
        self._open: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}

    def of(self, doc: int) -> NDArray[np.uint64]:
        docs, offsets, values = self._shard(doc >> 32)
        place = int(np.searchsorted(docs, np.uint64(doc)))
        return np.ascontiguousarray(values[offsets[place] : offsets[place + 1]])

    def _shard(self, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        if index not in self._open:
            record = self._records[f"shingles-{self._plan.shard(index)}"]
            files = [load(self._out, record, f"{n}.npy") for n in ("docs", "offsets", "values")]
            self._open[index] = (files[0], files[1], files[2])
        return self._open[index]


def _of_shard_in_pairs(out: Output, plan: Plan, index: int) -> NDArray[np.uint64]:
    records = out.shards()
    found = [np.empty(0, np.uint64)]
    for p in range(plan.partitions):
        docs = load(out, records[plan.pairs_id(p)], "involved.npy")
        first, last = np.searchsorted(docs, [np.uint64(index << 32), np.uint64((index + 1) << 32)])
        found.append(np.asarray(docs[first:last]))
    return np.unique(np.concatenate(found))


def _partitioned(
    out: Output, shard: str, kind: str, table: NDArray[Any], field: str, plan: Plan
) -> dict[str, Path]:
    part = table[field] % np.uint64(plan.partitions)
    return save(out, shard, {f"{kind}-{p:05d}": table[part == p] for p in range(plan.partitions)})


def _records(dtype: np.dtype[Any], *columns: NDArray[np.uint64]) -> NDArray[Any]:
    table = np.empty(columns[0].size, dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        table[name] = column
    return table


def _joined(tables: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *tables])
