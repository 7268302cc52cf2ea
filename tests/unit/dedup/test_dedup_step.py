import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from shard_runs import context, document, write_shards

from openseek.artifacts.folder import FolderFiles
from openseek.config.dedup import DedupConfig
from openseek.dedup import find_duplicates, step

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
            found.append(document(text, f"{i}-{n}", "book" if n == 1 else "web"))
    order = rng.permutation(len(found))
    return [found[i] for i in order]


@pytest.fixture
def documents(tmp_path: Path) -> FolderFiles:
    return write_shards(tmp_path / "in", [rows()[shard::5] for shard in range(5)])


@pytest.mark.parametrize("verify", [True, False])
def test_finds_over_all_shards_what_one_list_finds(
    documents, tmp_path, one_process, verify
) -> None:
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


def test_metrics(documents, tmp_path, one_process) -> None:
    metrics = step.dedup(context(documents, tmp_path / "out", CONFIG))
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


def test_nothing_to_do(tmp_path, one_process) -> None:
    files = write_shards(tmp_path / "in", [[]])
    metrics = step.dedup(context(files, tmp_path / "out", CONFIG))
    assert metrics["documents_out"] == 0
    assert metrics["clusters"] == {"number": 0, "sizes": {}, "largest": []}
