"""The manifest: the only commit of a step, and how its files are read back."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openseek.artifacts.backend import open_backend
from openseek.artifacts.files import FileRecord, Json, sha256_file
from openseek.artifacts.keys import SCHEMA, content_digest
from openseek.errors import CorruptArtifactError


@dataclass(frozen=True)
class Manifest:
    """What a finished step is: its identity, files, metrics, and where it came from."""

    step: str
    version: int
    key: str
    params: Json
    inputs: dict[str, str]
    files: tuple[FileRecord, ...]
    metrics: Json
    content_digest: str
    provenance: Json = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def folder(self) -> str:
        """The step's folder, relative to the store's root."""
        return f"steps/{self.step}/{self.key}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    def to_json(self) -> bytes:
        """Encode for the store."""
        body = asdict(self)
        return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Decode and check that the digest fits the files.

        Raises:
            CorruptArtifactError: The manifest contradicts itself.
        """
        raw: dict[str, Any] = json.loads(data)
        raw["files"] = tuple(FileRecord(**f) for f in raw["files"])
        manifest = cls(**raw)
        if content_digest(manifest.files) != manifest.content_digest:
            raise CorruptArtifactError(
                "the manifest's content digest does not fit its files",
                where=where,
                mend="Remove it with `openseek artifacts verify --repair`.",
            )
        return manifest


@dataclass(frozen=True)
class ArtifactFiles:
    """The `FileSet` of a manifest: fetched on demand, verified, cached by digest.

    Attributes:
        root: Root of the store.
        manifest: The artifact.
        cache: Local folder for files of a remote store.
        prefix: Only files below it, with the prefix taken off their names.
    """

    root: str
    manifest: Manifest
    cache: Path
    prefix: str = ""

    @property
    def meta(self) -> Json:
        """The artifact's metrics."""
        return self.manifest.metrics

    @property
    def lineage(self) -> Json:
        """Everything of the manifest but files and metrics."""
        body = asdict(self.manifest)
        return {k: v for k, v in body.items() if k not in ("files", "metrics")}

    def under(self, prefix: str) -> ArtifactFiles:
        """Narrow to the files below `prefix`."""
        return ArtifactFiles(self.root, self.manifest, self.cache, self.prefix + prefix)

    def records(self) -> list[FileRecord]:
        """List the files, sorted by name."""
        cut = len(self.prefix)
        found = [
            FileRecord(f.name[cut:], f.size, f.sha256, f.rows, f.tokens, f.path)
            for f in self.manifest.files
            if f.name.startswith(self.prefix)
        ]
        return sorted(found, key=lambda f: f.name)

    def local(self, name: str) -> Path:
        """Return a local path with the verified content of a file."""
        record = next((f for f in self.records() if f.name == name), None)
        if record is None:
            raise CorruptArtifactError(f"no file {name!r}", where=self.manifest.folder)
        backend = open_backend(self.root)
        stored = f"{self.manifest.folder}/{record.path}"
        path = backend.local(stored)
        if path is None:
            path = self._fetch(stored, record)
        if not path.is_file() or path.stat().st_size != record.size:
            raise CorruptArtifactError(
                f"file {name!r} is missing or has the wrong size",
                where=stored,
                mend="`openseek artifacts verify --repair` drops the artifact; run again then.",
            )
        if sha256_file(path) != record.sha256:
            raise CorruptArtifactError(
                f"the content of {name!r} changed since it was written",
                where=stored,
                mend="`openseek artifacts verify --repair` drops the artifact; run again then.",
            )
        return path

    def _fetch(self, stored: str, record: FileRecord) -> Path:
        target = self.cache / record.sha256[:2] / f"{record.sha256}{Path(record.name).suffix}"
        if target.is_file() and target.stat().st_size == record.size:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{uuid.uuid4().hex}")
        try:
            open_backend(self.root).get(stored, staged)
        except FileNotFoundError:
            return target
        os.replace(staged, target)
        return target


def materialise(files: Any, folder: Path, prefix: str = "") -> Path:
    """Lay the files of a `FileSet` (below `prefix`) out in a folder, by links where possible.

    Args:
        files: The file set.
        folder: Target, made if need be; existing entries are replaced.
        prefix: Only these files; it is taken off their names.
    """
    for record in files.records():
        if not record.name.startswith(prefix):
            continue
        target = folder / record.name[len(prefix) :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(files.local(record.name))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
