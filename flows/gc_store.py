"""Remove orphans from a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from openseek.artifacts.gc import collect
from openseek.artifacts.store import Store, store_root
from openseek.units import format_bytes


@flow(name="gc-store", log_prints=False)
def gc_store(
    store: str = "",
    older_than_hours: float = 24.0,
    unreferenced: bool = False,
    dry_run: bool = True,
) -> dict[str, Any]:
    """Remove files that no manifest or shard record names.

    Args:
        store: Root of the store; empty takes $OPENSEEK_STORE or the default.
        older_than_hours: Younger files are left alone.
        unreferenced: Also remove artifacts that no run points to.
        dry_run: Only report.

    Returns:
        How many files and bytes.
    """
    opened = Store(store_root(store), Path(".openseek/scratch"))
    report = collect(
        opened, older_than_s=older_than_hours * 3600, unreferenced=unreferenced, dry_run=dry_run
    )
    verb = "would be removed" if dry_run else "removed"
    text = f"{len(report.files)} files, {format_bytes(report.bytes)} {verb} in {report.steps} steps"
    create_markdown_artifact(text, key="gc-store")
    return {"files": len(report.files), "bytes": report.bytes, "dry_run": dry_run}
