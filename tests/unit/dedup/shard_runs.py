"""What the tests of all deduplication steps share: running a step over shards, and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus.shards import make_document, write_documents


def document(text: str, origin: Any, source: str = "web") -> dict[str, Any]:
    """Make a row that differs from others by its text and origin."""
    return make_document(
        text, source=source, category="foundation", lang="en", license="x", origin=str(origin)
    )


def write_shards(folder: Path, parts: Sequence[list[dict[str, Any]]]) -> FolderFiles:
    """Write one shard `web-0000n.parquet` for each part."""
    folder.mkdir(parents=True)
    for i, rows in enumerate(parts):
        write_documents(folder / f"web-{i:05d}.parquet", rows)
    return FolderFiles(folder)


def context(
    files: FolderFiles, out: Path | FolderOutput, config: Any, **runtime: Any
) -> StepContext[Any]:
    """Make a step's context, with the output in a folder."""
    output = FolderOutput(out) if isinstance(out, Path) else out
    return StepContext(config, {"documents": files}, output, RuntimeConfig(**runtime))


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    """Stand in for `map_shards`: one after the other in this process."""
    return [fn(shard, *args) for shard in shards]


def backwards(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    """Stand in for `map_shards`: the last shard first."""
    return serial(fn, list(shards)[::-1], args=args)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a folder that a later step would see."""
    return {
        r.name: hashlib.sha256((folder / r.name).read_bytes()).hexdigest()
        for r in FolderFiles(folder).records()
    }


class DyingOutput(FolderOutput):
    """An output whose process is killed when it is about to commit once more than it may."""

    def __init__(self, root: Path, commits: int) -> None:
        super().__init__(root)
        self.left = commits

    def commit_shard(self, *args: Any, **kwargs: Any) -> Any:
        """Commit, or die."""
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().commit_shard(*args, **kwargs)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run shards one after the other, without Ray."""
    from openseek.dedup import passes

    monkeypatch.setattr(passes, "map_shards", serial)
