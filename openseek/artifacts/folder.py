"""A plain folder as input or output: a layer used alone, without a store.

The output keeps its shard records under `_shards/`, so that a command that was killed goes on
where it stopped when it is started again with the same folder.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from openseek.artifacts.files import FileRecord, Json, ShardRecord, sha256_file
from openseek.errors import CorruptArtifactError, DataError


class FolderFiles:
    """The files of a local folder, without the ones that start with `_` or `.`."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise DataError("no such folder", where=str(root), mend="Check the path.")
        meta = self.root / "_metrics.json"
        self.meta: Json = json.loads(meta.read_text()) if meta.is_file() else {}
        self.lineage: Json = {}

    def records(self) -> list[FileRecord]:
        """List the files, sorted by name; digests are left empty (a folder is not an artifact)."""
        found = []
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and not any(p.startswith(("_", ".")) for p in name.split("/")):
                found.append(FileRecord(name, path.stat().st_size, ""))
        return found

    def local(self, name: str) -> Path:
        """Return the path of a file."""
        path = self.root / name
        if not path.is_file():
            raise CorruptArtifactError(f"no file {name!r}", where=str(self.root))
        return path


class FolderOutput:
    """Write a step's output into a local folder."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        (self.root / "_shards").mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=self.root))

    def shards(self) -> dict[str, ShardRecord]:
        """Return the shards already committed."""
        found = {}
        for path in sorted((self.root / "_shards").glob("*.json")):
            raw = json.loads(path.read_text())
            files = tuple(FileRecord(**f) for f in raw["files"])
            if all((self.root / f.name).is_file() for f in files):
                found[raw["shard"]] = ShardRecord(raw["shard"], files, raw["stats"])
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
        """Move the files of a shard into place, then record it."""
        records = []
        for i, (name, path) in enumerate(files.items()):
            first = i == 0
            target = name if final else f"_work/{name}"
            records.append(
                self._place(target, path, rows if first else None, tokens if first else None)
            )
        record = ShardRecord(shard, tuple(records), dict(stats or {}))
        text = json.dumps(
            {"shard": shard, "files": [asdict(f) for f in record.files], "stats": record.stats},
            ensure_ascii=False,
        )
        self._write_json(self.root / "_shards" / f"{shard}.json", text)
        return record

    def local(self, record: FileRecord) -> Path:
        """Return the path of a committed shard's file."""
        path = self.root / record.path
        if not path.is_file():
            raise CorruptArtifactError(f"no file {record.name!r}", where=str(self.root))
        return path

    def add(
        self, name: str, path: Path, *, rows: int | None = None, tokens: int | None = None
    ) -> FileRecord:
        """Move one file into place."""
        return self._place(name, path, rows, tokens)

    def checkpoints(self) -> list[int]:
        """Return the steps of all committed checkpoints, ascending."""
        root = self.root / "_checkpoints"
        return sorted(int(p.parent.name) for p in root.glob("*/_COMMIT.json"))

    def commit_checkpoint(self, step: int, folder: Path, meta: Json) -> None:
        """Move a folder into `_checkpoints/{step}`; its `_COMMIT.json` comes last."""
        target = self.root / "_checkpoints" / str(step)
        self.discard_checkpoint(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        files = {
            p.relative_to(folder).as_posix(): [p.stat().st_size, sha256_file(p)]
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }
        shutil.move(str(folder), target)
        for name in files:
            with (target / name).open("rb") as f:
                os.fsync(f.fileno())
        self._write_json(target / "_COMMIT.json", json.dumps({"files": files, "meta": meta}))

    def load_checkpoint(self, step: int) -> tuple[Path, Json]:
        """Return a verified checkpoint folder and its meta."""
        root = self.root / "_checkpoints" / str(step)
        commit = json.loads((root / "_COMMIT.json").read_text())
        for name, (size, sha256) in commit["files"].items():
            path = root / name
            if not path.is_file() or path.stat().st_size != size or sha256_file(path) != sha256:
                raise CorruptArtifactError(f"damaged checkpoint file {name!r}", where=str(root))
        return root, commit["meta"]

    def discard_checkpoint(self, step: int) -> None:
        """Remove a checkpoint, its commit record first."""
        root = self.root / "_checkpoints" / str(step)
        (root / "_COMMIT.json").unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)

    def finish(self, metrics: Json) -> None:
        """Write the step's metrics and report, and drop what was intermediate."""
        text = json.dumps(metrics, ensure_ascii=False, indent=1)
        self._write_json(self.root / "_metrics.json", text)
        self._write_json(self.root / "_report.json", text)
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.rmtree(self.root / "_work", ignore_errors=True)

    def _place(self, name: str, path: Path, rows: int | None, tokens: int | None) -> FileRecord:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        record = FileRecord(name, path.stat().st_size, sha256_file(path), rows, tokens, name)
        if path.resolve().is_relative_to(self.scratch):
            os.replace(path, target)
        else:
            staged = self.scratch / f"copy-{record.sha256[:16]}"
            shutil.copyfile(path, staged)
            os.replace(staged, target)
        return record

    def _write_json(self, path: Path, text: str) -> None:
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        with staged.open("w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(staged, path)
