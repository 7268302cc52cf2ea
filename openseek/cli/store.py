"""Commands about the store: artifacts ls, show, verify; gc."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.units import format_bytes

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
StoreRoot = Annotated[
    str, typer.Option("--store", help="Root of the store; empty: $OPENSEEK_STORE or the default.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    artifacts = typer.Typer(help="List, show and verify artifacts.", no_args_is_help=True)
    artifacts.command("ls")(ls)
    artifacts.command()(show)
    artifacts.command()(verify)
    app.add_typer(artifacts, name="artifacts")
    app.command()(gc)


def _open(root: str) -> Any:
    from openseek.artifacts import Store, store_root

    return Store(root or store_root(""), Path(".openseek/scratch"))


def ls(store: StoreRoot = "", json_: AsJson = False) -> None:
    """List the finished artifacts of the store."""
    opened = _open(store)
    found = sorted(opened.manifests(), key=lambda m: m.provenance.get("started", 0.0))
    if json_:
        rows = [
            {"step": m.step, "key": m.key, "files": len(m.files), "bytes": m.size, **m.provenance}
            for m in found
        ]
        print(json.dumps({"artifacts": rows}, ensure_ascii=False))
        return
    if not found:
        print(f"no finished artifacts in {opened.root}")
    for m in found:
        at = datetime.fromtimestamp(m.provenance.get("started", 0.0), UTC)
        seconds = m.provenance.get("seconds", 0.0)
        print(
            f"{m.step:<14} {m.key[:12]}  {len(m.files):>5} files {format_bytes(m.size):>9} "
            f"{seconds:>8.1f}s  {at:%Y-%m-%d %H:%M}  {m.provenance.get('node', '')}"
        )


def show(
    key: Annotated[str, typer.Argument(help="Beginning of a key, as `artifacts ls` prints it.")],
    store: StoreRoot = "",
    json_: Annotated[bool, typer.Option("--json", help="On one line.")] = False,
) -> None:
    """Print the manifest of an artifact as JSON."""
    from dataclasses import asdict

    from openseek.errors import StoreError

    found = [m for m in _open(store).manifests() if m.key.startswith(key)]
    if not found:
        raise StoreError(f"no artifact {key!r}", mend="`openseek artifacts ls` lists them.")
    if len(found) > 1:
        keys = ", ".join(m.key[:16] for m in found)
        raise StoreError(f"{key!r} fits several: {keys}", mend="Give more of the key.")
    print(json.dumps(asdict(found[0]), ensure_ascii=False, indent=None if json_ else 1))


def verify(
    store: StoreRoot = "",
    repair: Annotated[
        bool, typer.Option(help="Take damaged artifacts out of use; the next run redoes them.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Read every file of every artifact and compare its digest."""
    from openseek.errors import CorruptArtifactError

    opened = _open(store)
    damaged: list[dict[str, str]] = []
    n_files = 0

    def set_aside(folder: str, error: str) -> None:
        damaged.append({"artifact": folder, "error": error})
        if repair:
            opened.invalidate(folder)

    for manifest in opened.manifests(set_aside):
        files = opened.files(manifest)
        for record in manifest.files:
            n_files += 1
            try:
                files.local(record.name)
            except CorruptArtifactError as error:
                set_aside(manifest.folder, str(error))
                break
    if json_:
        body = {"files": n_files, "damaged": damaged, "repaired": repair}
        print(json.dumps(body, ensure_ascii=False))
    else:
        for item in damaged:
            print(f"{item['artifact']}: {item['error']}")
        done = ", out of use now" if damaged and repair else ""
        print(f"{n_files} files read, {len(damaged)} artifacts damaged{done}")
    if damaged and not repair:
        raise typer.Exit(1)


def gc(
    store: StoreRoot = "",
    older_than_hours: Annotated[float, typer.Option(help="Leave younger files alone.")] = 24.0,
    unreferenced: Annotated[
        bool, typer.Option(help="Also artifacts that no run points to.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only report.")] = False,
    json_: AsJson = False,
) -> None:
    """Remove what no manifest or shard record names: orphans of attempts that died."""
    from openseek.artifacts.gc import collect

    started = time.monotonic()
    report = collect(
        _open(store),
        older_than_s=older_than_hours * 3600,
        unreferenced=unreferenced,
        dry_run=dry_run,
    )
    if json_:
        body = {"files": report.files, "bytes": report.bytes, "live": report.kept_live}
        print(json.dumps({**body, "unreadable": report.unreadable}))
        return
    verb = "to remove" if dry_run else "removed"
    print(
        f"{len(report.files)} files {verb}, {format_bytes(report.bytes)}; {report.steps} steps "
        f"looked at, {len(report.kept_live)} at work, {time.monotonic() - started:.1f}s"
    )
    for folder in report.unreadable:
        print(
            f"{folder}: left alone, a record is damaged; mend: openseek artifacts verify --repair"
        )
