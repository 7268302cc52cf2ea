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
import pyarrow as pa
from numpy.typing import NDArray

from openseek.artifacts.files import FileRecord, FileSet, Output, ShardRecord
from openseek.config.dedup import DedupConfig

SHARD_BITS = np.uint64(32)
_BAND_KEY = np.dtype([("key", "<u8"), ("doc", "<u8")])
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("doc", "<u8")])
_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("chars", pa.int64()),
        ("quality", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Plan:
    """What all passes share.

    Attributes:
        names: Shards in order.
        partitions: Parts in which keys are compared.
        earlier: Files of earlier indexes; their documents come after those of the shards.
    """

    names: tuple[str, ...]
    partitions: int
    earlier: tuple[FileRecord, ...] = ()

    def shard(self, index: int) -> str:
        """Name a shard in records and files."""
        name = PurePosixPath(self.names[index]).with_suffix("").as_posix()
        return name.replace("/", "-").replace(".", "_")

    def map_id(self, index: int) -> str:
        """Name the record of the first pass; keys cut into other partitions are of no use."""
        if index >= len(self.names):
            return f"earlier-{self.partitions}-{index - len(self.names)}"
        return f"map-{self.partitions}-{self.shard(index)}"

    @property
    def first_earlier(self) -> np.uint64:
        """The smallest number of a document of an earlier index."""
        return np.uint64(len(self.names) << 32)

    def pairs_id(self, partition: int) -> str:
        """Name the record of a partition."""
        return f"pairs-{self.partitions}-{partition}"


def map_shard(index: int, files: FileSet, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Compute digests and band keys of a shard's documents, a row group at a time."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from openseek.corpus.shards import iter_batches
    from openseek.dedup import index as index_
    from openseek.dedup.kernels import digests
    from openseek.dedup.minhash import keys_of_bands, qualities, sign

    shard = plan.map_id(index)
    rows_path = out.scratch / f"{shard}-{os.getpid()}.parquet"
    keys, hashes, rows, start = [], [], [], index << 32
    indexed = config.write_index or bool(plan.earlier)
    with pq.ParquetWriter(rows_path, _ROWS, compression="zstd") as writer:
        for batch in iter_batches(
            files.local(plan.names[index]), ["id", "text", "source", "score"]
        ):
            ids, text = batch.column("id"), batch.column("text")
            buf, offsets = text_buffers(text)
            docs = np.arange(start, start + len(text), dtype=np.uint64)
            start += len(text)
            scores = batch.column("score").to_pylist()
            ranks = qualities(buf, offsets, scores) if config.prefer == "quality" else docs * 0
            columns = [pc.utf8_length(text).cast(pa.int64()), pa.array(ranks.astype(np.int64))]
            writer.write_batch(pa.record_batch([ids, batch.column("source"), *columns], _ROWS))
            digest = digests(buf, offsets)
            hashes.append(_records(_DIGEST, digest[:, 0], digest[:, 1], docs))
            if not (config.near or indexed):
                continue
            table, shingles = sign(buf, offsets, config)
            found = keys_of_bands(table, config)
            some = shingles > 0
            doc = np.repeat(docs[some], config.keys)
            keys.append(_records(_BAND_KEY, found[some].ravel(), doc))
            if indexed:
                rows.append(index_.rows(ids.to_pylist(), digest, found, table, shingles, config))
    produced = {f"{shard}/rows.parquet": rows_path}
    produced |= _cut_keys(out, shard, keys, hashes, plan, config)
    if indexed:
        produced |= save(out, shard, {"index": _joined(rows, index_.row_type(config))})
    stats = {"documents": start - (index << 32)}
    out.commit_shard(shard, produced, rows=stats["documents"], stats=stats, final=False)


def map_earlier(index: int, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Take the keys of one file of an earlier index; its documents have no text any more."""
    from openseek.dedup import index as index_

    shard, number = plan.map_id(index), index - len(plan.names)
    rows = index_.fetch(plan.earlier[number], out.scratch)
    docs = np.arange(index << 32, (index << 32) + len(rows), dtype=np.uint64)
    some = rows["empty"] == 0
    keys = _records(_BAND_KEY, rows["keys"][some].ravel(), np.repeat(docs[some], config.keys))
    hashes = _records(_DIGEST, rows["digest"][:, 0], rows["digest"][:, 1], docs)
    produced = _cut_keys(out, shard, [keys], [hashes], plan, config)
    produced |= save(out, shard, {"index": rows})
    out.commit_shard(shard, produced, stats={"documents": len(rows)}, final=False)


def _cut_keys(
    out: Output,
    shard: str,
    keys: Sequence[NDArray[Any]],
    hashes: Sequence[NDArray[Any]],
    plan: Plan,
    config: DedupConfig,
) -> dict[str, Path]:
    near = _joined(keys if config.near else [], _BAND_KEY)
    exact = _joined(hashes if config.exact else [], _DIGEST)
    return _partitioned(out, shard, "bands", near, "key", plan) | _partitioned(
        out, shard, "digests", exact, "high", plan
    )


def pair_partition(partition: int, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Bring a partition's keys of all shards together and write the pairs they make."""
    from openseek.dedup.graph import NEIGHBOURS, forest, pairs_with, star_pairs

    records = out.shards()
    maps = [records[plan.map_id(i)] for i in range(len(plan.names) + len(plan.earlier))]
    bands, hashes = (
        np.concatenate([load(out, r, f"{kind}-{partition:05d}.npy") for r in maps])
        for kind in ("bands", "digests")
    )
    exact = star_pairs((hashes["low"], hashes["high"]), hashes["doc"])
    old = bands["doc"] >= plan.first_earlier
    before = NEIGHBOURS if config.verify else 0
    near = star_pairs((bands["key"][~old],), bands["doc"][~old], before)
    earlier = pairs_with(bands["key"][old], bands["doc"][old], bands["key"][~old],
                         bands["doc"][~old])  # fmt: skip
    if not config.verify:
        near, earlier = forest(np.concatenate([near, earlier])), earlier[:0]
    shard = plan.pairs_id(partition)
    involved = np.unique(near) if config.verify else np.empty(0, np.uint64)
    arrays = {"near": near, "exact": forest(exact), "involved": involved, "earlier": earlier}
    pairs = len(near) + len(earlier)
    out.commit_shard(shard, save(out, shard, arrays), stats={"pairs": pairs}, final=False)


def shingle_shard(index: int, files: FileSet, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Write the shingle sets of those documents of a shard that are in a candidate pair."""
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.kernels import shingle_sets

    wanted = _of_shard_in_pairs(out, plan, index)
    local = (wanted & np.uint64(0xFFFFFFFF)).astype(np.int64)
    sets, sizes, start = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)], 0
    if local.size:
        for batch in iter_batches(files.local(plan.names[index]), ["text"]):
            here = local[(local >= start) & (local < start + batch.num_rows)] - start
            start += batch.num_rows
            if here.size:
                chosen = text_buffers(batch.column("text").take(pa.array(here)))
                values, starts = shingle_sets(*chosen, config.ngram)
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
    from openseek.dedup.kernels import jaccard

    records = out.shards()
    parts = [records[plan.pairs_id(p)] for p in range(plan.partitions)]
    candidates = _pairs_of(out, parts, "near", index)
    sets = _ShingleSets(out, records, plan)
    similar = [
        jaccard(sets.of(int(a)), sets.of(int(b))) >= config.min_jaccard
        for a, b in candidates.tolist()
    ]
    earlier = _pairs_of(out, parts, "earlier", index)
    found = earlier[_similar_to_earlier(earlier, out, records, plan, config)]
    pairs = np.concatenate([candidates[np.array(similar, np.bool_)], found])
    shard = f"verify-{plan.shard(index)}"
    stats = {"candidates": len(similar) + len(earlier), "similar": len(pairs)}
    out.commit_shard(shard, save(out, shard, {"near": pairs}), stats=stats, final=False)


def _pairs_of(
    out: Output, parts: Sequence[ShardRecord], name: str, index: int
) -> NDArray[np.uint64]:
    """Join the pairs of all partitions whose second document is in a shard."""
    from openseek.dedup.graph import unique_pairs

    pairs = [np.empty((0, 2), np.uint64)]
    for record in parts:
        table = load(out, record, f"{name}.npy")  # sorted by the second document
        edges = np.searchsorted(table[:, 1], np.array([index << 32, (index + 1) << 32], np.uint64))
        pairs.append(np.asarray(table[edges[0] : edges[1]]))
    return unique_pairs(np.concatenate(pairs))


def _similar_to_earlier(
    pairs: NDArray[np.uint64],
    out: Output,
    records: Mapping[str, ShardRecord],
    plan: Plan,
    config: DedupConfig,
) -> NDArray[np.bool_]:
    """Tell which pairs of a document of an index and one of a shard are similar."""
    from openseek.dedup.index import similarity

    bits = []
    for side in (0, 1):
        shards = (pairs[:, side] >> SHARD_BITS).astype(np.int64)
        rows = (pairs[:, side] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        column = np.zeros((len(pairs), config.bands * config.rows), np.uint8)
        for shard in np.unique(shards).tolist():
            table = load(out, records[plan.map_id(shard)], "index.npy")
            column[shards == shard] = table["bits"][rows[shards == shard]]
        bits.append(column)
    return np.asarray(similarity(*bits) >= config.min_jaccard)


def filter_shard(index: int, files: FileSet, out: Output, plan: Plan, config: DedupConfig) -> None:
    """Write a shard's documents without the removed ones, and the index of those that stay."""
    import pyarrow.compute as pc

    from openseek.corpus.document import DOCUMENT_SCHEMA
    from openseek.corpus.funnel import Funnel
    from openseek.corpus.shards import TableWriter, iter_batches

    resolved = out.shards()["components"]
    removed, kinds = load(out, resolved, "removed.npy"), load(out, resolved, "exact.npy")
    a, b = np.searchsorted(removed, np.array([index << 32, (index + 1) << 32], np.uint64))
    gone = (np.asarray(removed[a:b]) & np.uint64(0xFFFFFFFF)).astype(np.int64)
    funnel, shard, start = Funnel(0), plan.shard(index), 0
    for reason, n in (("exact", int(kinds[a:b].sum())), ("near", int((~kinds[a:b]).sum()))):
        if n:
            funnel.count("dropped", reason, n)
    path = out.scratch / f"{shard}-{os.getpid()}.parquet"
    with TableWriter(path) as writer:
        for batch in iter_batches(files.local(plan.names[index])):
            table = pa.Table.from_batches([batch]).cast(DOCUMENT_SCHEMA)
            stays = np.ones(table.num_rows, np.bool_)
            stays[gone[(gone >= start) & (gone < start + table.num_rows)] - start] = False
            sizes = pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False)
            funnel.documents(batch["source"], sizes.astype(np.int64), stays)
            writer.add(table if stays.all() else table.filter(pa.array(stays)))
            start += table.num_rows
    produced = {plan.names[index]: path}
    if config.write_index:
        table = load(out, out.shards()[plan.map_id(index)], "index.npy")
        own = save(out, f"{shard}-index", {"index": np.delete(table, gone)})
        produced[f"index/{shard}.npy"] = next(iter(own.values()))
    out.commit_shard(shard, produced, rows=writer.rows, stats=funnel.stats())


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


def text_buffers(column: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return an Arrow column of texts as one buffer and offsets, without a copy."""
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    if not len(column):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    starts = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data or b"", np.uint8), starts


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
