"""What a step reads and writes: sets of named files, independent of where they are stored.

A step's function sees a `FileSet` for each input and one `Output`; whether they stand for a folder
(`openseek data clean IN OUT`) or for artifacts of a store on S3 makes no difference to it. All
processing is on local paths: `FileSet.local` fetches and verifies, `Output.commit_shard` publishes.
Both are picklable, so that a Ray worker can use them.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact.

    Attributes:
        name: Logical name inside the artifact, with forward slashes.
        size: Bytes.
        sha256: Hex digest of the content.
        rows: Documents or records in it, if it has rows.
        tokens: Tokens in it, if it was tokenised.
        path: Where it lies, relative to the step's folder; never part of any digest.
    """

    name: str
    size: int
    sha256: str
    rows: int | None = None
    tokens: int | None = None
    path: str = ""


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: its files, counts and statistics. Written once, exclusively."""

    shard: str
    files: tuple[FileRecord, ...]
    stats: Json = field(default_factory=dict)


class FileSet(Protocol):
    """The files of one input."""

    @property
    def meta(self) -> Json:
        """Metrics of the artifact they belong to; empty for a plain folder."""
        ...

    @property
    def lineage(self) -> Json:
        """Step, key, version, params, inputs, provenance of the artifact; empty for a folder."""
        ...

    def records(self) -> list[FileRecord]:
        """List the files, sorted by name."""
        ...

    def local(self, name: str) -> Path:
        """Return a local path with the whole, verified content of a file.

        Raises:
            CorruptArtifactError: The content is missing or does not match its record.
        """
        ...


class Output(Protocol):
    """Where a step puts what it makes. Nothing is visible to others before the step's commit."""

    scratch: Path
    """A local folder for temporary files, private to this attempt, removed at its end."""

    def shards(self) -> dict[str, ShardRecord]:
        """Return the shards already committed, by this attempt or an earlier one of this step."""
        ...

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
        """Publish the files of a shard and record it; a second record of it is refused.

        If another attempt was faster, its record is returned and these files are dropped.

        Args:
            shard: Id of the shard within the step, e.g. `000123`; letters, digits, `-`, `_`.
            files: Logical name -> local path. Paths inside `scratch` are moved, others copied.
            rows: Rows in the shard (goes to its first file).
            tokens: Tokens in the shard (goes to its first file).
            stats: JSON statistics of the shard, for the step to sum up.
            final: False for intermediate files, which stay out of the manifest.
        """
        ...

    def local(self, record: FileRecord) -> Path:
        """Return a local path with the whole, verified content of a committed shard's file.

        How a later pass of the same step reads what an earlier pass committed with `final=False`.

        Raises:
            CorruptArtifactError: The content is missing or does not match its record.
        """
        ...

    def add(
        self, name: str, path: Path, *, rows: int | None = None, tokens: int | None = None
    ) -> FileRecord:
        """Publish one file that belongs to no shard."""
        ...

    def checkpoints(self) -> list[int]:
        """Return the steps of all committed checkpoints, ascending."""
        ...

    def commit_checkpoint(self, step: int, folder: Path, meta: Json) -> None:
        """Publish a folder as the checkpoint of a training step; its `_COMMIT.json` comes last."""
        ...

    def load_checkpoint(self, step: int) -> tuple[Path, Json]:
        """Return a local folder with a verified checkpoint, and its meta.

        Raises:
            CorruptArtifactError: A file is missing or damaged; fall back to an older one.
        """
        ...

    def discard_checkpoint(self, step: int) -> None:
        """Remove a checkpoint, its commit record first."""
        ...


def names(files: FileSet, pattern: str = "*") -> list[str]:
    """List the logical names that match a shell pattern (`*` also crosses `/`), sorted."""
    return [r.name for r in files.records() if fnmatch.fnmatchcase(r.name, pattern)]


def sha256_file(path: Path) -> str:
    """Digest a file's content."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
