"""Fixtures of the corpus tests."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from web import Web

from openseek.config.runtime import RuntimeConfig
from openseek.corpus import http, step


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


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Run a web server, and have its clients not wait before they ask again."""
    monkeypatch.setattr(http, "BACKOFF_S", 0.0)
    server = Web()
    yield server
    server.close()


@pytest.fixture
def byte_vocabulary(tmp_path: Path) -> Path:
    """Write a tokenizer of 257 tokens, one a byte and one of two; ids from 257 on are special."""
    tokens = [bytes([i]) for i in range(256)] + [b"te"]
    path = tmp_path / "bytes.tiktoken"
    lines = [f"{base64.b64encode(t).decode()} {i}\n" for i, t in enumerate(tokens)]
    path.write_text("".join(lines), encoding="ascii")
    return path
