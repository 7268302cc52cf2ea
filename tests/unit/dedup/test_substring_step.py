import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from shard_runs import context, document, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.substring import SubstringConfig
from openseek.dedup import find_substrings
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
    return [document(t, i) for i, t in enumerate(texts)]


@pytest.fixture
def documents(tmp_path: Path) -> FolderFiles:
    return write_shards(tmp_path / "in", [rows()[shard * 24 :][:24] for shard in range(4)])


def read(folder: Path) -> dict[str, str]:
    tables = [pq.read_table(folder / f"web-{s:05d}.parquet") for s in range(4)]
    return {r["id"]: r["text"] for t in tables for r in t.to_pylist()}


@pytest.mark.parametrize("keep", ["first", "none"])
def test_cuts_over_all_shards_what_one_list_cuts(documents, tmp_path, one_process, keep) -> None:
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


def test_documents_that_are_mostly_copies_are_dropped(documents, tmp_path, one_process) -> None:
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


def test_no_documents(tmp_path, one_process) -> None:
    files = write_shards(tmp_path / "in", [[]])
    metrics = exact_substring(context(files, tmp_path / "out", CONFIG))
    assert metrics["documents_out"] == 0
    assert metrics["work"] == {"fingerprints": 0, "windows_compared": 0}
