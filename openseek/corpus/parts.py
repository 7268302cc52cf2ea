"""Divide sources into parts of bounded size, each the work of one task.

The division depends on the files and `shard_bytes` alone: plain JSON Lines by byte range, parquet
by row groups, token files by documents, small files in groups; an archive or a compressed file is
one part, whose documents are cut into shards as they come. A source's `max_bytes` is shared out
over its parts by their size, over few enough of them (spread evenly) that each share is worth a
task.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from openseek.config.sources import SourceConfig, SourceFile, SourceSnapshot
from openseek.corpus.archives import is_archive
from openseek.corpus.http import open_http
from openseek.corpus.readers import Blob, reader_of
from openseek.corpus.readers.columnar import row_group_sizes
from openseek.corpus.readers.megatron import document_ranges, is_index
from openseek.corpus.streams import codec_of, is_url, open_bytes

SHARE = 4_000_000
"""Least share of `max_bytes` for which a further part is read, in bytes."""


@dataclass(frozen=True)
class Part:
    """Files, or a piece of one, that one task reads.

    Attributes:
        source: Index of the source in the configuration.
        name: Name of the source.
        number: Number of the part within the source.
        files: What to read, in order.
        size: Raw bytes, as far as known.
        start: First byte, row group or document of a single file.
        end: The one after the last; None: to the end.
        limit: Largest amount of text to take, in bytes; None: all.
    """

    source: int
    name: str
    number: int
    files: tuple[SourceFile, ...]
    size: int
    start: int = 0
    end: int | None = None
    limit: int | None = None

    @property
    def shard(self) -> str:
        """Id of the part's shard record."""
        return f"{self.name}-{self.number:05d}"

    def __str__(self) -> str:
        return self.shard


def split_source(index: int, snapshot: SourceSnapshot, shard_bytes: int) -> list[Part]:
    """Divide one source into parts.

    Args:
        index: Its index in the configuration.
        snapshot: The source and its files.
        shard_bytes: Aimed size of a part, in bytes.
    """
    source = snapshot.source
    pieces: list[tuple[tuple[SourceFile, ...], int, int, int | None]] = []
    group: list[SourceFile] = []

    def close() -> None:
        if group:
            pieces.append((tuple(group), sum(f.size for f in group), 0, None))
            group.clear()

    for file in _ordered(snapshot):
        ranges = _ranges(file, snapshot, shard_bytes)
        if ranges:
            close()
            pieces.extend(((file,), size, start, end) for size, start, end in ranges)
            continue
        alone = source.hub is not None or is_archive(file.name)
        if alone or (group and sum(f.size for f in group) + file.size > shard_bytes):
            close()
        group.append(file)
        if alone:
            close()
    close()
    parts = [
        Part(index, source.name, i, files, size, start, end)
        for i, (files, size, start, end) in enumerate(pieces)
    ]
    return _share(parts, source.max_bytes)


def _ordered(snapshot: SourceSnapshot) -> list[SourceFile]:
    names = {f.name for f in snapshot.files}
    files = [f for f in snapshot.files if not _belongs(f.name, names)]
    if snapshot.source.order == "shuffled":
        files.sort(key=lambda f: shuffle_key(f.name))
    return files


def _belongs(name: str, names: set[str]) -> bool:
    """Tell whether a file is read together with another one."""
    return is_index(name) and name.removesuffix(".idx") + ".bin" in names


def shuffle_key(name: str) -> bytes:
    """Order names as if shuffled, the same everywhere."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def _ranges(
    file: SourceFile, snapshot: SourceSnapshot, shard_bytes: int
) -> list[tuple[int, int, int | None]]:
    """Return (size, start, end) of the pieces of a large file that can be read in pieces."""
    source = snapshot.source
    if (
        source.hub is not None
        or file.size <= shard_bytes
        or codec_of(file.name)
        or is_archive(file.name)
    ):
        return []
    kind = reader_of(file.name, source)
    if kind == "jsonl":
        starts = range(0, file.size, shard_bytes)
        return [
            (min(shard_bytes, file.size - s), s, min(s + shard_bytes, file.size)) for s in starts
        ]
    if kind == "parquet":
        return _bundle(row_group_sizes(blob_of(file, source)), shard_bytes)
    if kind == "megatron":
        return document_ranges(blob_of(file, source), shard_bytes)
    return []


def blob_of(file: SourceFile, source: SourceConfig) -> Blob:
    """Return a file as readers take it; a web server must still have the pinned version."""
    expected = file.digest if file.digest.startswith(("etag:", "modified:")) else ""

    def open_it() -> BinaryIO:
        if source.place == "path" and file.url.startswith(("http://", "https://")):
            return open_http(file.url, expected=expected)
        return open_bytes(file.url)

    def sibling(name: str) -> BinaryIO | None:
        url = f"{file.url.rpartition('/')[0]}/{name.rpartition('/')[2]}"
        if not is_url(url) and not Path(url).is_file():
            return None
        return open_bytes(url)

    return Blob(file.name, open_it, sibling, file.size)


def _bundle(sizes: list[int], limit: int) -> list[tuple[int, int, int | None]]:
    bundles: list[tuple[int, int, int | None]] = []
    start = total = 0
    for i, size in enumerate(sizes):
        if total and total + size > limit:
            bundles.append((total, start, i))
            start, total = i, 0
        total += size
    return [*bundles, (total, start, len(sizes))] if sizes else []


def _share(parts: list[Part], max_bytes: int | None) -> list[Part]:
    if max_bytes is None or not parts:
        return parts
    n = min(len(parts), max(1, max_bytes // SHARE))
    chosen = [parts[i * len(parts) // n] for i in range(n)]
    total = sum(p.size for p in chosen) or 1
    return [replace(p, limit=max(1, max_bytes * p.size // total)) for p in chosen]
