"""Find near duplicates of document shards: `near.py WHO FOLDER RESULT`, WHO of the functions below.

RESULT gets {id: id}: each document that is linked with an earlier one, and the first one of its
cluster. 14 bands of 8 rows, 5-word shingles.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of all documents."""
    import pyarrow.parquet as pq

    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(2000, columns=["id", "text"]):
                yield from zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True)


def find(folder: Path) -> dict[str, str]:
    """Ours: signatures, bands, candidates verified, clusters; nothing written."""
    import numpy as np

    from openseek.config.dedup import DedupConfig
    from openseek.corpus.shards import iter_batches
    from openseek.dedup.duplicates import candidate_pairs, verified_pairs
    from openseek.dedup.graph import components
    from openseek.dedup.minhash import sign
    from openseek.dedup.shards import text_buffers

    config = DedupConfig(exact=False)
    ids: list[str] = []
    tables, counts, involved = [], [], {}
    for path in sorted(folder.glob("*.parquet")):
        for batch in iter_batches(path, ["id", "text"]):
            table, shingles = sign(*text_buffers(batch.column("text")), config)
            tables.append(table)
            counts.append(shingles)
            ids += batch.column("id").to_pylist()
    everything = np.arange(len(ids), dtype=np.uint64)
    pairs = candidate_pairs(np.concatenate(tables), np.concatenate(counts), everything, config)
    wanted, start = np.unique(pairs), 0
    for path in sorted(folder.glob("*.parquet")):
        for batch in iter_batches(path, ["text"]):
            here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)].tolist()
            involved |= {i: batch.column("text")[i - start].as_py() for i in here}
            start += batch.num_rows
    nodes, roots = components(verified_pairs(pairs, involved, config))
    return {ids[n]: ids[r] for n, r in zip(nodes.tolist(), nodes[roots].tolist(), strict=True)
            if n != r}  # fmt: skip


def step(folder: Path) -> dict[str, str]:
    """Ours, the whole step in this process: exact too, candidates verified, shards written."""
    from openseek.artifacts import FolderFiles, FolderOutput, StepContext
    from openseek.config.dedup import DedupConfig
    from openseek.config.runtime import RuntimeConfig
    from openseek.dedup import passes
    from openseek.dedup.step import dedup

    passes.map_shards = lambda fn, shards, *, args=(), **_: [fn(s, *args) for s in shards]
    with tempfile.TemporaryDirectory() as out:
        inputs = {"documents": FolderFiles(folder)}
        dedup(StepContext(DedupConfig(), inputs, FolderOutput(out), RuntimeConfig()))
        from pyarrow import feather

        rows = feather.read_table(Path(out) / "clusters.arrow").to_pylist()
    return {r["id"]: r["kept"] for r in rows if r["id"] != r["kept"]}


def rensa(folder: Path) -> dict[str, str]:
    """The rensa wheel, with words cut by a regular expression, a Chinese character a word."""
    import re

    from rensa import RMinHash, RMinHashLSH

    word = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
    lsh = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14)
    names, hashes = [], []
    for number, (id, text) in enumerate(texts(folder)):
        words = word.findall(text.lower())
        shingles = [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))]
        names.append(id)
        hashes.append(RMinHash(num_perm=112, seed=1))
        hashes[-1].update(shingles)
        lsh.insert(number, hashes[-1])
    return _joined(names, ((i, j) for i, h in enumerate(hashes) for j in lsh.query(h)))


def datatrove(folder: Path) -> dict[str, str]:
    """The four stages of datatrove, as one task of a local executor each."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    with tempfile.TemporaryDirectory() as work:

        def reader() -> ParquetReader:
            return ParquetReader(str(folder), glob_pattern="*.parquet", read_metadata=False)

        drop = JsonlWriter(f"{work}/removed", compression=None)
        stages = [
            ([reader(), MinhashDedupSignature(f"{work}/sigs", config)], 1),
            ([MinhashDedupBuckets(f"{work}/sigs", f"{work}/buckets", config=config)], 14),
            ([MinhashDedupCluster(f"{work}/buckets", f"{work}/ids", config=config)], 1),
            (
                [
                    reader(),
                    MinhashDedupFilter(f"{work}/ids", exclusion_writer=drop),
                    JsonlWriter(f"{work}/kept"),
                ],
                1,
            ),
        ]
        for i, (pipeline, tasks) in enumerate(stages):
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=1, logging_dir=f"{work}/logs{i}"
            ).run()
        # Its reader passes by empty texts; its pairs are of four numbers: file, document, twice.
        names = [name for name, text in texts(folder) if text]
        pairs = [
            (left, right)
            for path in Path(work, "buckets").glob("*.dups")
            for _, left, _, right in struct.iter_unpack("<4I", path.read_bytes())
        ]
        return _joined(names, pairs)


def _joined(names: list[str], pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Join what is paired; name each document's first of the same cluster."""
    parent = list(range(len(names)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return {names[i]: names[root(i)] for i in range(len(names)) if root(i) != i}


if __name__ == "__main__":
    who, source, result = sys.argv[1:]
    linked = globals()[who](Path(source))
    Path(result).write_text(json.dumps(linked), encoding="utf-8")
    print(json.dumps({"result": result, "linked": len(linked)}))
