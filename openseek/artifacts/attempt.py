"""One attempt at a step: the `Output` that its function writes to.

Files go to `attempts/{attempt}/`, where nothing sees them; a shard record or the manifest makes
them count. An attempt is picklable: workers publish their shards themselves.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from openseek.artifacts.backend import Backend, open_backend
from openseek.artifacts.files import FileRecord, Json, ShardRecord, sha256_file
from openseek.errors import CorruptArtifactError


@dataclass
class Attempt:
    """Write one step's output into a store.

    Attributes:
        root: Root of the store.
        folder: The step's folder below it, `steps/{name}/{key}`.
        attempt: Id of this attempt.
        scratch: Local folder of this attempt.
        added: Files that belong to no shard.
    """

    root: str
    folder: str
    attempt: str
    scratch: Path
    added: dict[str, FileRecord] = field(default_factory=dict)

    @property
    def backend(self) -> Backend:
        """The store's backend in this process."""
        return open_backend(self.root)

    def shards(self) -> dict[str, ShardRecord]:
        """Return the committed shards; a record whose files are damaged is removed."""
        # Records first: their files came before them. In the other order, a shard that another
        # worker commits in between would look as if its files were missing.
        records = [(path, self._read_shard(path)) for path in self._shard_paths()]
        sizes = {e.path: e.size for e in self.backend.list(f"{self.folder}/attempts")}
        found: dict[str, ShardRecord] = {}
        for path, record in records:
            if all(sizes.get(f"{self.folder}/{f.path}") == f.size for f in record.files):
                found[record.shard] = record
            else:
                self.backend.remove(path)
        return found

    def commit_shard(
        self,
        shard: str,
        files: Mapping[str, Path],
        *,
        rows: int | None = None,
        tokens: int | None = None,
        stats: Json | None = None,
        final: bool = True,
    ) -> ShardRecord:
        """Publish a shard's files, then its record; adopts the record of a faster attempt."""
        records = []
        for i, (name, path) in enumerate(files.items()):
            counts = (rows, tokens) if i == 0 else (None, None)
            records.append(self._publish(name, path, *counts))
        record = ShardRecord(shard, tuple(records), dict(stats or {}))
        body = {
            "shard": shard,
            "files": [asdict(f) for f in record.files],
            "stats": record.stats,
            "final": final,
            "attempt": self.attempt,
        }
        target = f"{self.folder}/shards/{shard}.json"
        if self.backend.create(target, json.dumps(body, ensure_ascii=False).encode()):
            return record
        return self._read_shard(target)

    def local(self, record: FileRecord) -> Path:
        """Fetch a committed shard's file unless it lies here already, and verify it."""
        where = f"{self.folder}/{record.path}"
        path = self.backend.local(where)
        if path is None or not path.is_file():
            path = self.scratch / "fetched" / f"{record.sha256}-{os.getpid()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                try:
                    self.backend.get(where, path)
                except FileNotFoundError:
                    raise CorruptArtifactError(f"no file {record.name!r}", where=where) from None
        if path.stat().st_size != record.size or sha256_file(path) != record.sha256:
            raise CorruptArtifactError(f"damaged file {record.name!r}", where=where)
        return path

    def add(
        self, name: str, path: Path, *, rows: int | None = None, tokens: int | None = None
    ) -> FileRecord:
        """Publish one file that belongs to no shard."""
        record = self._publish(name, path, rows, tokens)
        self.added[name] = record
        return record

    def files(self) -> list[FileRecord]:
        """List what the manifest will name: files of final shards and added ones, by name."""
        found = dict(self.added)
        for path in self._shard_paths():
            data = json.loads(self.backend.read(path)[0])
            if data["final"]:
                found.update((f["name"], FileRecord(**f)) for f in data["files"])
        return [found[name] for name in sorted(found)]

    def checkpoints(self) -> list[int]:
        """Return the steps of all committed checkpoints, ascending."""
        prefix = f"{self.folder}/checkpoints/"
        ends = (e.path for e in self.backend.list(prefix) if e.path.endswith("/_COMMIT.json"))
        return sorted(int(p.removeprefix(prefix).split("/")[0]) for p in ends)

    def commit_checkpoint(self, step: int, folder: Path, meta: Json) -> None:
        """Upload a folder; `_COMMIT.json` with sizes and digests comes last."""
        target = f"{self.folder}/checkpoints/{step}"
        self.discard_checkpoint(step)
        files = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder).as_posix()
            files[name] = [path.stat().st_size, sha256_file(path)]
            self.backend.put(f"{target}/{name}", path, move=True)
        body = {"files": files, "meta": meta, "attempt": self.attempt}
        self.backend.create(f"{target}/_COMMIT.json", json.dumps(body).encode())

    def load_checkpoint(self, step: int) -> tuple[Path, Json]:
        """Fetch a checkpoint into scratch and verify every file."""
        source = f"{self.folder}/checkpoints/{step}"
        target = self.scratch / f"checkpoint-{step}"
        commit = json.loads(self.backend.read(f"{source}/_COMMIT.json")[0])
        for name, (size, sha256) in commit["files"].items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.backend.get(f"{source}/{name}", path)
            except FileNotFoundError:
                raise CorruptArtifactError(f"no checkpoint file {name!r}", where=source) from None
            if path.stat().st_size != size or sha256_file(path) != sha256:
                raise CorruptArtifactError(f"damaged checkpoint file {name!r}", where=source)
        return target, commit["meta"]

    def discard_checkpoint(self, step: int) -> None:
        """Remove a checkpoint, its commit record first."""
        prefix = f"{self.folder}/checkpoints/{step}"
        self.backend.remove(f"{prefix}/_COMMIT.json")
        for entry in list(self.backend.list(f"{prefix}/")):
            self.backend.remove(entry.path)

    def _shard_paths(self) -> list[str]:
        return sorted(e.path for e in self.backend.list(f"{self.folder}/shards"))

    def _read_shard(self, path: str) -> ShardRecord:
        data = json.loads(self.backend.read(path)[0])
        return ShardRecord(
            data["shard"], tuple(FileRecord(**f) for f in data["files"]), data["stats"]
        )

    def _publish(self, name: str, path: Path, rows: int | None, tokens: int | None) -> FileRecord:
        # Two workers may make the same shard (a retry that overtook its original): every
        # publication gets its own path, so that neither can replace what a record names.
        unique = f"{os.getpid()}-{threading.get_ident()}"
        where = f"attempts/{self.attempt}/{unique}/{name}"
        record = FileRecord(name, path.stat().st_size, sha256_file(path), rows, tokens, where)
        move = path.resolve().is_relative_to(self.scratch.resolve())
        self.backend.put(f"{self.folder}/{where}", path, move=move)
        return record
