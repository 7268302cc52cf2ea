import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyarrow import feather
from shard_runs import context, document, write_shards

from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.dedup import DedupConfig, EarlierIndex
from openseek.config.runtime import RuntimeConfig
from openseek.dedup import step
from openseek.dedup.index import pin, similarity
from openseek.errors import ConfigError, CorruptArtifactError

CONFIG = DedupConfig(write_index=True)


pytestmark = pytest.mark.usefixtures("one_process")


def text(seed: int, changed: int = 0) -> str:
    words = [f"w{n}" for n in np.random.default_rng(seed).integers(0, 9000, 200)]
    return " ".join([*words[: 200 - changed], *(f"new{i}" for i in range(changed))])


def crawl(folder: Path, texts: list[str], shards: int = 2) -> FolderFiles:
    rows = [document(t, i, folder.name) for i, t in enumerate(texts)]
    return write_shards(folder, [rows[s::shards] for s in range(shards)])


def run(files: FolderFiles, out: Path, config: DedupConfig = CONFIG) -> dict[str, Any]:
    output = FolderOutput(out)
    metrics = step.dedup(context(files, output, config))
    output.finish(metrics)
    return metrics


def kept(out: Path) -> set[str]:
    files = sorted(out.glob("*.parquet"))
    return {t for f in files for t in pq.read_table(f)["text"].to_pylist()}


def against(*paths: Path, **fields: Any) -> DedupConfig:
    earlier = tuple(EarlierIndex(path=str(p)) for p in paths)
    return DedupConfig(against=earlier, write_index=True, **fields)


MAY = [text(i) for i in range(20)] + [""]
JUNE = [text(3), text(4, 2), text(5, 90), text(30), text(31), text(31, 1), text(4, 3), "", "new"]


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("verify", [True, False])
def test_what_an_earlier_run_has_kept_is_a_duplicate(tmp_path, verify, partitions) -> None:
    run(crawl(tmp_path / "may", MAY), tmp_path / "a")
    config = against(tmp_path / "a", verify=verify, partitions=partitions)
    metrics = run(crawl(tmp_path / "june", JUNE), tmp_path / "b", config)
    assert kept(tmp_path / "b") - {text(31), text(31, 1)} == {text(5, 90), text(30), "new"}
    assert metrics["dropped"] == {"exact": 2, "near": 3}
    assert metrics["earlier"] == {"documents": 21, "removed": 4}
    clusters = feather.read_table(tmp_path / "b" / "clusters.arrow").to_pylist()
    june = {r["id"] for f in FolderFiles(tmp_path / "june").records()
            for r in pq.read_table(tmp_path / "june" / f.name).to_pylist()}  # fmt: skip
    assert {c["id"] for c in clusters} <= june
    assert sum(c["kept"] not in june for c in clusters) == 4


def test_indexes_of_several_months_add_up(tmp_path) -> None:
    run(crawl(tmp_path / "may", MAY), tmp_path / "a")
    run(crawl(tmp_path / "june", JUNE), tmp_path / "b", against(tmp_path / "a"))
    july = [text(3), text(30), text(40)]
    run(crawl(tmp_path / "july", july), tmp_path / "c", against(tmp_path / "a", tmp_path / "b"))
    assert kept(tmp_path / "c") == {text(40)}


def test_an_index_has_a_row_for_each_kept_document(tmp_path) -> None:
    run(crawl(tmp_path / "may", [text(1), text(1), text(2)]), tmp_path / "a")
    about = json.loads((tmp_path / "a" / "index" / "index.json").read_text())
    ids = []
    for file in about["files"]:
        raw = (tmp_path / "a" / file["name"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == file["sha256"]
        ids += np.load(tmp_path / "a" / file["name"])["id"].tolist()
    files = sorted((tmp_path / "a").glob("*.parquet"))
    assert ids == [i.encode() for f in files for i in pq.read_table(f)["id"].to_pylist()]


def test_the_content_of_an_index_is_pinned(tmp_path) -> None:
    run(crawl(tmp_path / "may", MAY), tmp_path / "a")
    config = against(tmp_path / "a")
    pinned = pin(config, RuntimeConfig())
    run(crawl(tmp_path / "other", JUNE), tmp_path / "b")
    elsewhere = pin(against(tmp_path / "b"), RuntimeConfig())
    assert pinned.identity() != elsewhere.identity() != config.identity()
    assert pin(pinned, RuntimeConfig()) == pinned
    moved = pinned.model_copy(
        update={"against": (EarlierIndex(path=str(tmp_path / "b"),
                                         digest=pinned.against[0].digest),)}
    )  # fmt: skip
    with pytest.raises(ConfigError, match="made anew"):
        pin(moved, RuntimeConfig())


def test_an_index_of_other_shingles_or_damaged_is_refused(tmp_path) -> None:
    run(crawl(tmp_path / "may", MAY), tmp_path / "a")
    with pytest.raises(ConfigError, match="ngram=5, not 3"):
        pin(against(tmp_path / "a", ngram=3), RuntimeConfig())
    file = next((tmp_path / "a" / "index").glob("*.npy"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptArtifactError, match="does not match"):
        run(crawl(tmp_path / "june", JUNE), tmp_path / "b", against(tmp_path / "a"))


def test_low_bytes_estimate_similarity_without_bias() -> None:
    rng = np.random.default_rng(0)
    left = rng.integers(0, 256, (400, 112), dtype=np.uint8)
    for true in (0.0, 0.4, 0.7, 1.0):
        other = rng.integers(0, 256, left.shape, dtype=np.uint8)
        right = np.where(rng.random(left.shape) < true, left, other)
        found = similarity(left, right)
        assert abs(found.mean() - true) < 4 * 0.05 / 20
    assert similarity(left[:0], left[:0]).size == 0
