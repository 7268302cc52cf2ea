import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.dedup import DedupConfig
from openseek.config.runtime import RuntimeConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.dedup import find_duplicates, passes, step

CONFIG = DedupConfig(priority=("book",))


def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(11)
    found = []
    for i in range(120):
        words = [f"w{n}" for n in rng.integers(0, 9000, 150)]
        texts = [" ".join(words)]
        if i % 3 == 0:
            texts.append(" ".join([*words[:-1], "end"]))  # near
        if i % 5 == 0:
            texts.append("  ".join(words).upper())  # exact, up to case and spaces
        for n, text in enumerate(texts):
            source = "book" if n == 1 else "web"
            found.append(
                make_document(
                    text, source=source, category="foundation", lang="en", license="x",
                    origin=f"{i}-{n}",
                )
            )  # fmt: skip
    order = rng.permutation(len(found))
    return [found[i] for i in order]


@pytest.fixture
def documents(tmp_path: Path) -> FolderFiles:
    (tmp_path / "in").mkdir()
    for shard in range(5):
        write_documents(tmp_path / "in" / f"web-{shard:05d}.parquet", rows()[shard::5])
    return FolderFiles(tmp_path / "in")


def context(files: FolderFiles, out: Path, config: DedupConfig = CONFIG, **runtime: Any) -> Any:
    return StepContext(
        config=config,
        inputs={"documents": files},
        out=FolderOutput(out),
        runtime=RuntimeConfig(**runtime),
    )


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


def backwards(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return serial(fn, list(shards)[::-1], args=args)


def digests(folder: Path) -> dict[str, str]:
    return {
        r.name: hashlib.sha256((folder / r.name).read_bytes()).hexdigest()
        for r in FolderFiles(folder).records()
    }


@pytest.mark.parametrize("verify", [True, False])
def test_finds_over_all_shards_what_one_list_finds(
    documents, tmp_path, monkeypatch, verify
) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    config = CONFIG.model_copy(update={"verify": verify})
    metrics = step.dedup(context(documents, tmp_path / "out", config))
    everything = rows()
    ids = [r["id"] for r in everything]
    expected = find_duplicates(
        [r["text"] for r in everything], config, ids=ids, sources=[r["source"] for r in everything]
    )
    kept = {r["id"] for r, gone in zip(everything, expected.removed, strict=True) if not gone}
    written = [
        pq.read_table(tmp_path / "out" / f"web-{s:05d}.parquet")["id"].to_pylist() for s in range(5)
    ]
    assert {i for shard in written for i in shard} == kept
    for shard, found in enumerate(written):  # in the order of the input
        assert found == [i for i in (r["id"] for r in rows()[shard::5]) if i in kept]
    assert metrics["documents_out"] == len(kept)
    assert sum(metrics["dropped"].values()) == int(expected.removed.sum())
    clusters = feather.read_table(tmp_path / "out" / "clusters.arrow").to_pylist()
    assert {c["id"]: c["kept"] for c in clusters if c["id"] != c["kept"]} == {
        ids[i]: ids[k] for i, k in enumerate(expected.kept.tolist()) if i != k
    }
    assert sum(c["reason"] == "exact" for c in clusters) == metrics["dropped"]["exact"]


def test_metrics(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    metrics = step.dedup(context(documents, tmp_path / "out"))
    json.dumps(metrics, allow_nan=False)
    assert metrics["clusters"]["number"] == 56
    assert metrics["clusters"]["sizes"] == {"2": 48, "3": 8}
    assert metrics["by_source"]["book"]["documents_out"] == 56
    assert metrics["pairs"]["similar"] >= 56
    assert len(metrics["cluster_samples"]) == 10
    for sample in metrics["cluster_samples"]:
        assert (
            sample["kept"]["text"].lower().split()[:9]
            == sample["removed"]["text"].lower().split()[:9]
        )


@pytest.mark.parametrize("partitions", [1, 3])
def test_order_of_work_and_partitions_do_not_change_the_bytes(
    documents, tmp_path, monkeypatch, partitions
) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    first = step.dedup(context(documents, tmp_path / "a"))
    monkeypatch.setattr(passes, "map_shards", backwards)
    config = CONFIG.model_copy(update={"partitions": partitions})
    second = step.dedup(context(documents, tmp_path / "b", config))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert {**first, "pairs": 0} == {**second, "pairs": 0}


@pytest.mark.parametrize("kill_at", [0, 3, 5, 8, 13, 18, 20])
def test_a_killed_step_goes_on_where_it_was(documents, tmp_path, monkeypatch, kill_at) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    whole = step.dedup(context(documents, tmp_path / "whole"))
    work: list[tuple[str, int]] = []

    def run(fn: Any, shards: Any, *, args: Any = (), limit: int | None = None, **_: Any) -> None:
        for shard in shards:
            if limit is not None and len(work) >= limit:
                raise KeyboardInterrupt
            fn(shard, *args)
            work.append((fn.__name__, shard))

    monkeypatch.setattr(passes, "map_shards", lambda *a, **k: run(*a, **k, limit=kill_at))
    with pytest.raises(KeyboardInterrupt):
        step.dedup(context(documents, tmp_path / "out"))
    monkeypatch.setattr(passes, "map_shards", run)
    assert step.dedup(context(documents, tmp_path / "out")) == whole
    assert len(work) == len(set(work)) == 21
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_nothing_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    (tmp_path / "in").mkdir()
    write_documents(tmp_path / "in" / "a.parquet", [])
    metrics = step.dedup(context(FolderFiles(tmp_path / "in"), tmp_path / "out"))
    assert metrics["documents_out"] == 0
    assert metrics["clusters"] == {"number": 0, "sizes": {}, "largest": []}


@pytest.mark.slow
@pytest.mark.ray
def test_the_number_of_workers_does_not_change_the_bytes(documents, tmp_path, monkeypatch) -> None:
    from openseek import compute

    found = []
    try:
        for workers in (2, 1):  # the Ray of the first run has room for both
            out = tmp_path / f"out{workers}"
            found.append((step.dedup(context(documents, out, workers=workers)), digests(out)))
    finally:
        compute.shutdown()
    monkeypatch.setattr(passes, "map_shards", serial)
    alone = step.dedup(context(documents, tmp_path / "alone"))
    assert found == [(alone, digests(tmp_path / "alone"))] * 2
