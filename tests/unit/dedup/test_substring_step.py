import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.substring import SubstringConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.dedup import find_substrings, passes
from openseek.dedup.substring import without
from openseek.dedup.substring_step import exact_substring

CONFIG = SubstringConfig(preset="bytes-200", snap="character")


def sentences(rng: np.random.Generator, n: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(0, 99_999, n))


def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    shared = [sentences(rng, 60) for _ in range(9)] + ["天地玄黄宇宙洪荒" * 20 + "\n"]
    texts = ["", "a" * 5000, "a" * 700, shared[0]]
    for i in range(90):
        parts = [sentences(rng, int(rng.integers(5, 90)))]
        if i % 2:
            piece = shared[i % 10]
            parts.append(piece[: len(piece) if i % 3 else int(rng.integers(150, 400))])
            parts.append(sentences(rng, 20))
        texts.append(" ".join(parts))
    return [
        make_document(t, source="web", category="foundation", lang="en", license="x", origin=str(i))
        for i, t in enumerate(texts)
    ]


@pytest.fixture
def documents(tmp_path: Path) -> FolderFiles:
    (tmp_path / "in").mkdir()
    for shard in range(4):
        write_documents(tmp_path / "in" / f"web-{shard:05d}.parquet", rows()[shard * 24 :][:24])
    return FolderFiles(tmp_path / "in")


def context(files: FolderFiles, out: Path, config: SubstringConfig = CONFIG, **runtime: Any) -> Any:
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


def read(folder: Path) -> dict[str, str]:
    tables = [pq.read_table(folder / f"web-{s:05d}.parquet") for s in range(4)]
    return {r["id"]: r["text"] for t in tables for r in t.to_pylist()}


@pytest.mark.parametrize("keep", ["first", "none"])
def test_cuts_over_all_shards_what_one_list_cuts(documents, tmp_path, monkeypatch, keep) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    config = CONFIG.model_copy(update={"keep": keep, "partitions": 3})
    metrics = exact_substring(context(documents, tmp_path / "out", config))
    json.dumps(metrics, allow_nan=False)
    everything = rows()
    cuts = find_substrings([r["text"] for r in everything], config)
    expected = {}
    for row, cut in zip(everything, cuts, strict=True):
        text = without(row["text"].encode(), cut.spans).decode()
        if text.strip() or not len(cut.spans):
            expected[row["id"]] = text
    assert read(tmp_path / "out") == expected
    assert metrics["bytes"]["duplicated"] == sum(c.duplicated for c in cuts)
    assert metrics["documents_out"] == len(expected)
    assert metrics["changed"]["substring"] > 10
    assert len(metrics["samples"]["substring"]) == 5


def test_documents_that_are_mostly_copies_are_dropped(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    config = CONFIG.model_copy(update={"remove": "documents", "max_duplicated": 0.6})
    metrics = exact_substring(context(documents, tmp_path / "out", config))
    everything = rows()
    cuts = find_substrings([r["text"] for r in everything], config)
    expected = {
        r["id"]: r["text"]
        for r, c in zip(everything, cuts, strict=True)
        if c.duplicated <= 0.6 * len(r["text"].encode())
    }
    assert read(tmp_path / "out") == expected
    assert metrics["dropped"] == {"substring": len(everything) - len(expected)}
    assert 0 < len(expected) < len(everything)


@pytest.mark.parametrize("partitions", [1, 5])
def test_order_of_work_and_partitions_do_not_change_the_bytes(
    documents, tmp_path, monkeypatch, partitions
) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    first = exact_substring(context(documents, tmp_path / "a"))
    monkeypatch.setattr(passes, "map_shards", backwards)
    config = CONFIG.model_copy(update={"partitions": partitions})
    assert exact_substring(context(documents, tmp_path / "b", config)) == first
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("kill_at", [0, 2, 4, 5, 7, 9, 10, 12])
def test_a_killed_step_goes_on_where_it_was(documents, tmp_path, monkeypatch, kill_at) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    whole = exact_substring(context(documents, tmp_path / "whole"))
    work: list[tuple[str, int]] = []

    def run(fn: Any, shards: Any, *, args: Any = (), limit: int | None = None, **_: Any) -> None:
        for shard in shards:
            if limit is not None and len(work) >= limit:
                raise KeyboardInterrupt
            fn(shard, *args)
            work.append((fn.__name__, shard))

    monkeypatch.setattr(passes, "map_shards", lambda *a, **k: run(*a, **k, limit=kill_at))
    with pytest.raises(KeyboardInterrupt):
        exact_substring(context(documents, tmp_path / "out"))
    monkeypatch.setattr(passes, "map_shards", run)
    assert exact_substring(context(documents, tmp_path / "out")) == whole
    assert len(work) == len(set(work)) == 14
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_no_documents(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(passes, "map_shards", serial)
    (tmp_path / "in").mkdir()
    write_documents(tmp_path / "in" / "a.parquet", [])
    metrics = exact_substring(context(FolderFiles(tmp_path / "in"), tmp_path / "out"))
    assert metrics["documents_out"] == 0
    assert metrics["work"] == {"fingerprints": 0, "windows_compared": 0}


@pytest.mark.slow
@pytest.mark.ray
def test_the_number_of_workers_does_not_change_the_bytes(documents, tmp_path, monkeypatch) -> None:
    from openseek import compute

    found = []
    try:
        for workers in (5, 2, 1):  # the Ray of the first run has room for all
            out = tmp_path / f"out{workers}"
            found.append((exact_substring(context(documents, out, workers=workers)), digests(out)))
    finally:
        compute.shutdown()
    monkeypatch.setattr(passes, "map_shards", serial)
    alone = exact_substring(context(documents, tmp_path / "alone"))
    assert found == [(alone, digests(tmp_path / "alone"))] * 3
