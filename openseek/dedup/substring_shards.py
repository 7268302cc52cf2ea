"""The passes of exact substring search over shards, each resumable on its own.

    prints   shard -> fingerprints of its places, cut into partitions by seed
    match    partition -> places by what they are: first, repeated, to be compared
    windows  shard -> windows of its places to compare, cut into partitions by hash
    same     partition -> windows by what they are
    cut      shard -> its documents without the repeated passages

What a pass writes for a shard lies together, so that the next one maps only that part of a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.files import FileSet, Output, ShardRecord
from openseek.config.substring import SubstringConfig
from openseek.dedup.shards import Plan, load, save, text_buffers

ROW_BYTES = 24
Table = NDArray[np.uint64]


@dataclass(frozen=True)
class SpanPlan(Plan):
    """What all passes share.

    Attributes:
        window_partitions: Partitions of the windows; 0 before their number is known.
    """

    window_partitions: int = 0

    def prints_id(self, index: int) -> str:
        """Name the record of a shard's fingerprints."""
        return f"prints-{self.partitions}-{self.shard(index)}"

    def match_id(self, partition: int) -> str:
        """Name the record of a partition's places."""
        return f"match-{self.partitions}-{partition}"

    def windows_id(self, index: int) -> str:
        """Name the record of a shard's windows."""
        return f"windows-{self.partitions}-{self.window_partitions}-{self.shard(index)}"

    def same_id(self, partition: int) -> str:
        """Name the record of a partition's windows."""
        return f"same-{self.partitions}-{self.window_partitions}-{partition}"


def prints_shard(
    index: int, files: FileSet, out: Output, plan: SpanPlan, config: SubstringConfig
) -> None:
    """Fingerprint a shard's documents, a row group at a time."""
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.substring import Fingerprints

    prints = Fingerprints(config)
    for batch in iter_batches(files.local(plan.names[index]), ["text"]):
        prints.add(*text_buffers(batch.column("text")))
    rows, copies, units = prints.finish()
    shard = plan.prints_id(index)
    produced = partitioned(out, shard, rows, rows[:, 0], plan.partitions)
    produced |= save(out, shard, {"copies": copies, "units": units})
    stats = {"fingerprints": len(rows), "local_copies": len(copies)}
    out.commit_shard(shard, produced, stats=stats, final=False)


def match_partition(partition: int, out: Output, plan: SpanPlan) -> None:
    """Bring fingerprints of the same seed together and tell which places are repeated."""
    from openseek.dedup.substring import label, runs

    rows, shards = gather(out, [plan.prints_id(i) for i in range(len(plan.names))],
                           partition)  # fmt: skip
    found = label(rows, exact=False)
    compare = found.places[found.compare]
    arrays = {
        **by_shard("first", found.places[found.first], shards[found.first], plan),
        **by_shard("repeat", found.places[found.repeat], shards[found.repeat], plan),
        **by_shard("compare", compare, shards[found.compare], plan),
        "compare-seeds": rows[found.compare, 0],
    }
    shard = plan.match_id(partition)
    stats = {"repeated": len(found.first) + len(found.repeat), "windows": int(runs(compare).sum())}
    out.commit_shard(shard, save(out, shard, arrays), stats=stats, final=False)


def windows_shard(
    index: int, files: FileSet, out: Output, plan: SpanPlan, config: SubstringConfig
) -> None:
    """Hash the windows of a shard's places to compare."""
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.substring import compared, starts

    records = out.shards()
    matched = [records[plan.match_id(p)] for p in range(plan.partitions)]
    places = of_shard(out, matched, "compare", index)
    seeds = of_shard(out, matched, "compare", index, column="compare-seeds")
    order = np.argsort(starts(places), kind="stable")
    places, seeds = places[order], seeds[order]
    at = starts(places)
    units = np.asarray(load(out, records[plan.prints_id(index)], "units.npy"))
    rows, doc = [np.empty((0, 3), np.uint64)], 0
    if places.size:
        for batch in iter_batches(files.local(plan.names[index]), ["text"]):
            here = units[doc : doc + batch.num_rows + 1]
            doc += batch.num_rows
            a, b = np.searchsorted(at, [here[0], here[-1]])
            if a < b:
                buf, offsets = text_buffers(batch.column("text"))
                rows.append(compared(buf, offsets, here, seeds[a:b], places[a:b], config))
    table = np.concatenate(rows)
    shard = plan.windows_id(index)
    produced = partitioned(out, shard, table, table[:, 1], plan.window_partitions)
    out.commit_shard(shard, produced, stats={"windows": len(table)}, final=False)


def same_partition(partition: int, out: Output, plan: SpanPlan) -> None:
    """Bring equal windows together."""
    from openseek.dedup.spans import join_runs
    from openseek.dedup.substring import label

    rows, shards = gather(out, [plan.windows_id(i) for i in range(len(plan.names))],
                           partition)  # fmt: skip
    found = label(rows, exact=True)
    arrays: dict[str, NDArray[Any]] = {}
    for name, chosen in (("first", found.first), ("repeat", found.repeat)):
        edges = np.searchsorted(shards[chosen], np.arange(len(plan.names) + 1))
        places = found.places[chosen]
        parts = [join_runs(places[a:b]) for a, b in pairwise(edges)]
        numbers = np.repeat(np.arange(len(parts)), [p.size for p in parts])
        joined = np.concatenate([np.empty(0, np.uint64), *parts])
        arrays |= by_shard(name, joined, numbers, plan)
    shard = plan.same_id(partition)
    stats = {"repeated": len(found.first) + len(found.repeat)}
    out.commit_shard(shard, save(out, shard, arrays), stats=stats, final=False)


def cut_shard(
    index: int, files: FileSet, out: Output, plan: SpanPlan, config: SubstringConfig
) -> None:
    """Write a shard's documents without their repeated passages."""
    import pyarrow as pa

    from openseek.corpus.document import DOCUMENT_SCHEMA
    from openseek.corpus.funnel import Funnel
    from openseek.corpus.shards import TableWriter, iter_batches
    from openseek.dedup.substring import by_text

    spans, units = _spans(index, out, plan, config)
    funnel, doc = Funnel(config.samples), 0
    path = out.scratch / f"{plan.shard(index)}-{os.getpid()}.parquet"
    with TableWriter(path) as writer:
        for batch in iter_batches(files.local(plan.names[index])):
            here = units[doc : doc + batch.num_rows + 1]
            doc += batch.num_rows
            a, b = np.searchsorted(spans[:, 0], [here[0], here[-1]])
            table = pa.Table.from_batches([batch]).cast(DOCUMENT_SCHEMA)
            writer.add(_cut_batch(table, by_text(spans[a:b], here), config, funnel))
    out.commit_shard(
        plan.shard(index), {plan.names[index]: path}, rows=writer.rows, stats=funnel.stats()
    )


def _spans(
    index: int, out: Output, plan: SpanPlan, config: SubstringConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the units of a shard to remove, and where its documents start in units."""
    from openseek.dedup.substring import duplicated_units

    records = out.shards()
    own = records[plan.prints_id(index)]
    parts = [records[plan.match_id(p)] for p in range(plan.partitions)]
    parts += [records[plan.same_id(p)] for p in range(plan.window_partitions)]
    copies = np.asarray(load(out, own, "copies.npy"))
    units = np.asarray(load(out, own, "units.npy"))
    first = of_shard(out, parts, "first", index)
    repeat = np.concatenate([copies, of_shard(out, parts, "repeat", index)])
    return duplicated_units(first, repeat, units, config), units


def _cut_batch(
    table: Any, spans: Sequence[NDArray[np.int64]], config: SubstringConfig, funnel: Any
) -> Any:
    """Return a table with the documents of a batch that are left."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from openseek.dedup.substring import cut_text, without

    sizes = pc.binary_length(table["text"]).to_pylist()
    sources = table["source"].to_pylist()
    texts: list[str] | None = None
    keep = np.ones(table.num_rows, np.bool_)
    for i, found in enumerate(spans):
        left = sizes[i]
        if len(found):
            raw = table["text"][i].as_buffer().to_pybytes()
            cut = cut_text(raw, found, config)
            funnel.count("bytes", "duplicated", cut.duplicated)
            shorter = raw if config.remove == "documents" else without(raw, cut.spans)
            too_much = cut.duplicated > config.max_duplicated * len(raw)
            keep[i] = not too_much if config.remove == "documents" else bool(shorter.strip())
            left = len(shorter)
            _count(table, i, raw, cut, bool(keep[i]), left, funnel)
            if left < sizes[i] and keep[i]:
                texts = table["text"].to_pylist() if texts is None else texts
                texts[i] = shorter.decode("utf-8")
        funnel.document(sources[i], sizes[i], left if keep[i] else None)
    if texts is not None:
        place, field = table.column_names.index("text"), table.schema.field("text")
        table = table.set_column(place, field, pa.array(texts, pa.large_string()))
    return table if keep.all() else table.filter(pa.array(keep))


def _count(table: Any, i: int, raw: bytes, cut: Any, keep: bool, left: int, funnel: Any) -> None:
    if not keep:
        funnel.count("dropped", "substring")
        funnel.count("bytes", "dropped", len(raw))
    elif left < len(raw):
        funnel.count("changed", "substring")
        funnel.count("bytes", "cut", len(raw) - left)
        funnel.count("bytes", "spans", len(cut.spans))
    id = table["id"][i].as_py()
    if (left < len(raw) or not keep) and len(cut.spans) and funnel.wants_sample("substring", id):
        a, b = cut.spans[0].tolist()
        funnel.sample("substring", id=id, source=table["source"][i].as_py(),
                      text=raw[a:b].decode("utf-8"))  # fmt: skip


def partitioned(
    out: Output, shard: str, rows: Table, key: NDArray[np.uint64], partitions: int
) -> dict[str, Any]:
    """Write rows to a scratch file a partition."""
    if partitions == 1:
        return save(out, shard, {"rows-00000": rows})
    part = key % np.uint64(partitions)
    return save(out, shard, {f"rows-{p:05d}": rows[part == p] for p in range(partitions)})


def gather(out: Output, ids: Sequence[str], partition: int) -> tuple[Table, NDArray[np.int64]]:
    """Join a partition's rows of all shards; return them and the shard of each."""
    records = out.shards()
    tables = [load(out, records[id], f"rows-{partition:05d}.npy") for id in ids]
    shards = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    return np.concatenate([np.empty((0, 3), np.uint64), *tables]), shards


def by_shard(
    name: str, places: Table, shards: NDArray[np.int64], plan: SpanPlan
) -> Mapping[str, NDArray[Any]]:
    """Name an array in order of shards, and where each shard's part of it starts."""
    return {name: places, f"{name}-edges": np.searchsorted(shards, np.arange(len(plan.names) + 1))}


def of_shard(
    out: Output, records: Sequence[ShardRecord], name: str, index: int, column: str = ""
) -> Table:
    """Join a shard's parts of an array of several partitions."""
    parts = [np.empty(0, np.uint64)]
    for record in records:
        edges = load(out, record, f"{name}-edges.npy")
        array = load(out, record, f"{column or name}.npy")
        parts.append(np.asarray(array[edges[index] : edges[index + 1]]))
    return np.concatenate(parts)
