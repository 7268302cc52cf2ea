"""Sources of a few rows, and contexts for the ingest step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import IngestConfig, SourceConfig
from openseek.corpus import snapshot_sources

Json = dict[str, Any]


def source(**fields: Any) -> SourceConfig:
    return SourceConfig.model_validate(
        {"name": "web", "category": "foundation", "lang": "en", "license": "MIT", **fields}
    )


def jsonl(rows: Iterable[Json]) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows)


def context(
    sources: Sequence[SourceConfig], runtime: RuntimeConfig, out: FolderOutput, **options: Any
) -> StepContext[IngestConfig]:
    config = IngestConfig(sources=tuple(snapshot_sources(sources, runtime)), **options)
    return StepContext(config, {}, out, runtime)


def contents(root: Path) -> dict[str, bytes]:
    """Return what a folder output published: logical name -> bytes."""
    return {
        name: p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and not (name := p.relative_to(root).as_posix()).startswith(("_", "."))
    }
