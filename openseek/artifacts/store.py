"""The store: find a finished step, work on an unfinished one, commit it exactly once.

{root}/steps/{name}/{key}/_SPEC.json        what the step is
                         attempts/{uuid}/…  immutable, invisible until a record names them
                         shards/{id}.json   exclusive create
                         checkpoints/{step}/… + _COMMIT.json (last)
                         _LEASE.json        who works on it
                         _MANIFEST.json     exclusive create: the only commit
{root}/refs/{run}/{stage}.json              readable pointers of a run to its artifacts
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openseek.artifacts.attempt import Attempt
from openseek.artifacts.backend import open_backend
from openseek.artifacts.files import FileRecord, Json
from openseek.artifacts.keys import content_digest, step_key
from openseek.artifacts.lease import Lease, process_is_dead, this_process
from openseek.artifacts.manifest import ArtifactFiles, Manifest
from openseek.errors import CorruptArtifactError, StoreError

log = logging.getLogger(__name__)

DEFAULT_ROOT = ".openseek/store"


@dataclass(frozen=True)
class Spec:
    """What determines a step's output."""

    step: str
    version: int
    params: Json
    inputs: dict[str, str]

    @property
    def key(self) -> str:
        """The step's key."""
        return step_key(self.step, self.version, self.params, self.inputs)

    @property
    def folder(self) -> str:
        """The step's folder, relative to the store's root."""
        return f"steps/{self.step}/{self.key}"


class Store:
    """An artifact store on a local folder or an fsspec URL.

    Args:
        root: Folder or URL.
        scratch: Local folder for attempts and fetched files.
        lease_s: Lifetime of leases.
    """

    def __init__(self, root: str, scratch: Path | str, lease_s: float = 60.0) -> None:
        self.backend = open_backend(root)
        self.root = self.backend.root
        self.scratch = Path(scratch).resolve()
        self.lease_s = lease_s
        self.cache = self.scratch / "cache"

    def probe(self) -> None:
        """Prove that the backend enforces exclusive create and compare-and-swap.

        Raises:
            StoreError: It silently ignores one of them: two writers could both win.
        """
        path = f"_probe/{uuid.uuid4().hex}"
        try:
            created = self.backend.create(path, b"1")
            again = self.backend.create(path, b"2")
            _, version = self.backend.read(path)
            swapped = self.backend.swap(path, b"3", version)
            stale = self.backend.swap(path, b"4", version)
            content = self.backend.read(path)[0]
        finally:
            self.backend.remove(path)
        if not created or again or not swapped or stale or content != b"3":
            raise StoreError(
                "the backend does not enforce exclusive create and compare-and-swap "
                f"(second create {'accepted' if again else 'refused'}, "
                f"stale swap {'accepted' if stale else 'refused'})",
                where=self.root,
                mend="Use a store that honours If-None-Match and If-Match "
                "(AWS S3, SeaweedFS, MinIO), or a local folder.",
            )

    def find(self, spec: Spec) -> Manifest | None:
        """Return the manifest of a finished step whose files are all there, else None."""
        if (manifest := self._read_manifest(spec.folder)) is None:
            return None
        missing = self.missing_files(manifest)
        if missing:
            log.warning("manifest=ignored step=%s missing=%s", spec.folder, missing[:3])
            return None
        return manifest

    def manifest(self, step: str, key: str) -> Manifest:
        """Read the manifest of a finished step by its key."""
        path = f"steps/{step}/{key}/_MANIFEST.json"
        return Manifest.from_json(self.backend.read(path)[0], path)

    def _read_manifest(
        self, folder: str, on_bad: Callable[[str, str], None] | None = None
    ) -> Manifest | None:
        try:
            data, _ = self.backend.read(f"{folder}/_MANIFEST.json")
        except FileNotFoundError:
            return None
        try:
            return Manifest.from_json(data, folder)
        except (CorruptArtifactError, ValueError, TypeError, KeyError) as error:
            if on_bad is not None:
                on_bad(folder, f"the manifest cannot be read ({type(error).__name__}: {error})")
            else:
                log.warning("manifest=unreadable step=%s error=%s", folder, error)
            return None

    def missing_files(self, manifest: Manifest) -> list[str]:
        """List the files of a manifest that are gone or have another size."""
        prefix = f"{manifest.folder}/attempts"
        sizes = {e.path: e.size for e in self.backend.list(prefix)}
        return [
            f.name for f in manifest.files if sizes.get(f"{manifest.folder}/{f.path}") != f.size
        ]

    def files(self, manifest: Manifest) -> ArtifactFiles:
        """Return the files of an artifact."""
        return ArtifactFiles(self.root, manifest, self.cache)

    @contextmanager
    def attempt(
        self, spec: Spec, on_wait: Callable[[str], None] = log.info
    ) -> Iterator[Attempt | Manifest]:
        """Work on a step under its lease; yields the manifest instead if another finished it.

        Waits while a live process holds the lease. The attempt's scratch folder goes at the end.
        """
        attempt_id = uuid.uuid4().hex
        lease = Lease(self.backend, f"{spec.folder}/_LEASE.json", attempt_id, self.lease_s)
        while (holder := lease.try_acquire()) is not None:
            on_wait(f"step={spec.step} waits for {holder.process} (attempt {holder.owner[:8]})")
            time.sleep(min(2.0, self.lease_s / 10))
            if (done := self.find(spec)) is not None:
                yield done
                return
        scratch = self.scratch / "attempts" / attempt_id
        try:
            if (done := self.find(spec)) is not None:
                yield done
                return
            self._drop_broken_manifest(spec)
            self.backend.write(f"{spec.folder}/_SPEC.json", _spec_json(spec))
            scratch.mkdir(parents=True)
            (scratch / "_owner").write_text(this_process())
            yield Attempt(self.root, spec.folder, attempt_id, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            lease.release()

    def commit(self, spec: Spec, attempt: Attempt, metrics: Json, provenance: Json) -> Manifest:
        """Write the manifest; who loses the race adopts the winner's."""
        files = tuple(attempt.files())
        manifest = Manifest(
            spec.step,
            spec.version,
            spec.key,
            spec.params,
            spec.inputs,
            files,
            metrics,
            content_digest(files),
            {"attempt": attempt.attempt, **provenance},
        )
        path = f"{spec.folder}/_MANIFEST.json"
        if self.backend.create(path, manifest.to_json()):
            return manifest
        winner = Manifest.from_json(self.backend.read(path)[0], path)
        log.info("manifest=adopted step=%s attempt=%s", spec.step, winner.provenance["attempt"])
        return winner

    def invalidate(self, folder: str) -> None:
        """Take a manifest out of use, so that the step is done again; its files stay for gc.

        Shard records whose files are damaged go too, the others are used again.
        """
        data, _ = self.backend.read(f"{folder}/_MANIFEST.json")
        for entry in self.backend.list(f"{folder}/shards"):
            files = [FileRecord(**f) for f in json.loads(self.backend.read(entry.path)[0])["files"]]
            if not all(self._is_intact(folder, f) for f in files):
                self.backend.remove(entry.path)
        self.backend.write(f"{folder}/_MANIFEST.bad-{uuid.uuid4().hex}.json", data)
        self.backend.remove(f"{folder}/_MANIFEST.json")

    def _is_intact(self, folder: str, record: FileRecord) -> bool:
        try:
            data, _ = self.backend.read(f"{folder}/{record.path}")
        except FileNotFoundError:
            return False
        return hashlib.sha256(data).hexdigest() == record.sha256

    def _drop_broken_manifest(self, spec: Spec) -> None:
        try:
            self.invalidate(spec.folder)
        except FileNotFoundError:
            return

    def write_ref(self, run: str, name: str, body: Mapping[str, Any]) -> None:
        """Point a run's name for something at it."""
        data = json.dumps(body, ensure_ascii=False, indent=1).encode()
        self.backend.write(f"refs/{run}/{name}.json", data)

    def read_ref(self, run: str, name: str) -> Json | None:
        """Read a pointer of a run."""
        try:
            return json.loads(self.backend.read(f"refs/{run}/{name}.json")[0])
        except FileNotFoundError:
            return None

    def runs(self) -> list[str]:
        """List the runs that have pointers."""
        return sorted({e.path.split("/")[1] for e in self.backend.list("refs")})

    def manifests(self, on_bad: Callable[[str, str], None] | None = None) -> Iterator[Manifest]:
        """Read every manifest of the store; one that cannot be read is left out with a warning.

        Args:
            on_bad: Receives folder and error of each such one, instead of the log.
        """
        for entry in self.backend.list("steps"):
            if entry.path.endswith("/_MANIFEST.json"):
                folder = entry.path.removesuffix("/_MANIFEST.json")
                if (manifest := self._read_manifest(folder, on_bad)) is not None:
                    yield manifest

    def clear_dead_scratch(self) -> int:
        """Remove scratch folders of processes that are gone; returns how many."""
        removed = 0
        for owner in (self.scratch / "attempts").glob("*/_owner"):
            if process_is_dead(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)
                removed += 1
        return removed


def store_root(configured: str) -> str:
    """Resolve the store's root: $OPENSEEK_STORE, else the configuration, else the default."""
    return os.environ.get("OPENSEEK_STORE", "") or configured or DEFAULT_ROOT


def _spec_json(spec: Spec) -> bytes:
    body = {
        "step": spec.step,
        "version": spec.version,
        "key": spec.key,
        "params": spec.params,
        "inputs": spec.inputs,
    }
    return json.dumps(body, ensure_ascii=False, indent=1).encode()
