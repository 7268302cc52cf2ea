"""Fixtures of the corpus tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from openseek.config.runtime import RuntimeConfig
from openseek.corpus import step


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeConfig:
    return RuntimeConfig(downloads=str(tmp_path / "downloads"), offline=True)


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run shards one after the other, without Ray; returns the shards that were worked on."""
    worked: list[str] = []

    def run(fn: Callable[..., Any], shards: Sequence[Any], *, args: Sequence[Any], **_: Any) -> Any:
        for shard in shards:
            worked.append(str(shard))
            fn(shard, *args)

    monkeypatch.setattr(step, "map_shards", run)
    return worked
