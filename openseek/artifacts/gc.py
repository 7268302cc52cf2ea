"""Find and remove what no record names any more. Runs never delete; only `openseek gc` does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from openseek.artifacts.backend import Entry
from openseek.artifacts.lease import LeaseRecord, process_is_dead
from openseek.artifacts.store import Store


@dataclass
class GcReport:
    """What was found, and removed unless it was a dry run.

    Attributes:
        files: Paths of orphans.
        bytes: Their size.
        kept_live: Step folders left alone since a live process holds their lease.
        unreadable: Step folders left alone since a record of theirs is damaged
            (`openseek artifacts verify --repair` takes it out of use).
        steps: Step folders seen.
    """

    files: list[str] = field(default_factory=list)
    bytes: int = 0
    kept_live: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    steps: int = 0


def collect(
    store: Store, *, older_than_s: float, unreferenced: bool = False, dry_run: bool = False
) -> GcReport:
    """Remove orphans: files of dead attempts that no shard record or manifest names.

    Args:
        store: The store.
        older_than_s: Younger files are left alone.
        unreferenced: Also remove whole artifacts that no run's ref points to.
        dry_run: Only report.
    """
    now = time.time()
    report = GcReport()
    referenced = _referenced(store) if unreferenced else None
    for folder, entries in _by_step(store).items():
        report.steps += 1
        if _is_live(store, folder, entries):
            report.kept_live.append(folder)
            continue
        try:
            drop = referenced is not None and folder not in referenced
            keep = set() if drop else _named(store, entries)
        except (ValueError, KeyError, TypeError):  # a record that is damaged names nothing
            report.unreadable.append(folder)
            continue
        for entry in entries:
            if entry.path in keep or now - entry.modified < older_than_s:
                continue
            report.files.append(entry.path)
            report.bytes += entry.size
    if not dry_run:
        # Records go first: a kill in between leaves orphans, never a record without its files.
        for path in sorted(
            report.files, key=lambda p: (not p.endswith("_MANIFEST.json"), "/shards/" not in p, p)
        ):
            store.backend.remove(path)
        store.clear_dead_scratch()
    return report


def _by_step(store: Store) -> dict[str, list[Entry]]:
    steps: dict[str, list[Entry]] = {}
    for entry in store.backend.list("steps"):
        steps.setdefault("/".join(entry.path.split("/")[:3]), []).append(entry)
    return steps


def _is_live(store: Store, folder: str, entries: list[Entry]) -> bool:
    if not any(e.path == f"{folder}/_LEASE.json" for e in entries):
        return False
    try:
        lease = LeaseRecord(**json.loads(store.backend.read(f"{folder}/_LEASE.json")[0]))
    except FileNotFoundError:
        return False
    return not process_is_dead(lease.process) and time.time() < lease.expires + lease.ttl_s


def _named(store: Store, entries: list[Entry]) -> set[str]:
    """Collect what must stay: records, committed checkpoints of unfinished steps, named files."""
    keep: set[str] = set()
    finished = any(e.path.endswith("/_MANIFEST.json") for e in entries)
    for entry in entries:
        folder = "/".join(entry.path.split("/")[:3])
        name = entry.path[len(folder) + 1 :]
        if name in ("_SPEC.json", "_MANIFEST.json"):
            keep.add(entry.path)
        if name == "_MANIFEST.json":
            raw = json.loads(store.backend.read(entry.path)[0])
            keep.update(f"{folder}/{f['path']}" for f in raw["files"])
        elif name.startswith("shards/") and not finished:
            raw = json.loads(store.backend.read(entry.path)[0])
            keep.add(entry.path)
            keep.update(f"{folder}/{f['path']}" for f in raw["files"])
        elif name.startswith("checkpoints/") and name.endswith("/_COMMIT.json") and not finished:
            raw = json.loads(store.backend.read(entry.path)[0])
            base = entry.path.removesuffix("/_COMMIT.json")
            keep.add(entry.path)
            keep.update(f"{base}/{file}" for file in raw["files"])
    return keep


def _referenced(store: Store) -> set[str]:
    found = set()
    for entry in store.backend.list("refs"):
        body = json.loads(store.backend.read(entry.path)[0])
        if "key" in body and "step" in body:
            found.add(f"steps/{body['step']}/{body['key']}")
    return found
