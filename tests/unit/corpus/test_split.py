from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.pipeline import HeldoutConfig
from openseek.config.runtime import RuntimeConfig
from openseek.corpus import make_document, read_documents, split, write_documents

TEXT = "abcdefghij" * 10


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "map_shards", serial)


def rows() -> list[dict[str, Any]]:
    return [
        make_document(
            TEXT, source="books" if i % 3 else "web", category="foundation" if i % 4 else "code",
            lang="en", license="x", origin=str(i),
        )
        for i in range(400)
    ]  # fmt: skip


def divided(home: Path, n_shards: int, config: HeldoutConfig) -> tuple[dict[str, Any], Path]:
    (home / "in").mkdir(parents=True)
    for i in range(n_shards):
        write_documents(home / "in" / f"a-{i:05d}.parquet", rows()[i::n_shards])
    context = StepContext(
        config, {"documents": FolderFiles(home / "in")}, FolderOutput(home / "out"), RuntimeConfig()
    )
    return split.split(context), home / "out"


def ids(folder: Path) -> list[str]:
    return [r["id"] for p in sorted(folder.glob("*.parquet")) for r in read_documents(p)]


def test_every_document_is_on_one_side_and_counted(tmp_path: Path) -> None:
    metrics, out = divided(tmp_path, 3, HeldoutConfig(fraction=0.2, max_bytes=10**6))
    train, heldout = ids(out / "train"), ids(out / "heldout")
    assert sorted(train + heldout) == sorted(r["id"] for r in rows())
    assert 40 < len(heldout) < 130
    assert metrics["heldout"]["documents"] == len(heldout)
    assert metrics["train"]["bytes"] == 100 * len(train)
    assert metrics["documents_in"] == 400
    assert metrics["documents_out"] == len(train)
    groups = metrics["train"]["by_category"]
    assert sum(g["documents"] for g in groups.values()) == len(train)


def test_the_cap_holds_for_each_category_whatever_the_shards(tmp_path: Path) -> None:
    config = HeldoutConfig(fraction=0.2, max_bytes=700)
    found = []
    for n_shards in (1, 5):
        metrics, out = divided(tmp_path / str(n_shards), n_shards, config)
        assert {k: g["bytes"] for k, g in metrics["heldout"]["by_category"].items()} == {
            "code/en": 700,
            "foundation/en": 700,
        }
        found.append(sorted(ids(out / "heldout")))
    assert found[0] == found[1]
