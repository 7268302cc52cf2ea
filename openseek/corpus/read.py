"""Read one part of a source: open its files, unpack its archives, run the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import SourceConfig, SourceFile, SourceSnapshot
from openseek.corpus.archives import Unpacked, is_archive, unpack
from openseek.corpus.locate import locate, selected
from openseek.corpus.parts import Part, blob_of, shuffle_key
from openseek.corpus.readers import Bad, Blob, Row, read_blob, reader_of
from openseek.corpus.streams import is_url, open_bytes
from openseek.errors import DataError

FETCHED = ("deb", "pypi", "npm")


def read_part(
    part: Part, snapshot: SourceSnapshot, scratch: Path, runtime: RuntimeConfig
) -> Iterator[Row | Bad]:
    """Yield the rows of a part, in an order that depends on its files alone.

    Args:
        part: What to read.
        snapshot: Its source, pinned.
        scratch: Local folder to unpack archives into.
        runtime: Where fetched packages lie.

    Raises:
        DataError: A file changed since it was pinned, or cannot be read at all.
    """
    source = snapshot.source
    if source.hub is not None:
        from openseek.corpus.readers.huggingface import read_hub

        for file in part.files:
            number, shards = file.digest.split("/")
            yield from read_hub(source, file.url, int(number), int(shards))
        return
    for file in part.files:
        file = _present(file, source, runtime)
        if is_archive(file.name):
            yield from _read_archive(file, source, scratch / "unpacked")
        else:
            yield from read_blob(blob_of(file, source), source, part.start, part.end)


def _read_archive(file: SourceFile, source: SourceConfig, folder: Path) -> Iterator[Row | Bad]:
    folder.mkdir(parents=True, exist_ok=True)
    with open_bytes(file.url) as stream:
        unpacked = unpack(
            stream, file.name, folder, lambda n: selected(source, n) or n.endswith(".index")
        )
    wanted = [n for n in unpacked.names() if selected(source, n)]
    if not wanted:
        raise DataError(
            f"no member matches {list(source.files)}",
            where=f"source {source.name}: {file.name}", mend="Check the source's `files`.",
        )  # fmt: skip
    if source.order == "shuffled":
        wanted.sort(key=shuffle_key)
    prefix = f"{file.name}/" if source.place == "path" else ""
    for name in wanted:
        if reader_of(name, source) == "dictd" and ".dict" not in name:
            continue
        for row in read_blob(Blob(name, _member(unpacked, name), unpacked.open), source):
            yield _within(row, prefix)
    unpacked.remove()


def _member(unpacked: Unpacked, name: str) -> Callable[[], BinaryIO]:
    def open_member() -> BinaryIO:
        stream = unpacked.open(name)
        assert stream is not None  # `name` is one of `unpacked.names()`
        return stream

    return open_member


def _within(row: Row | Bad, prefix: str) -> Row | Bad:
    if not prefix:
        return row
    if isinstance(row, Bad):
        return Bad(row.reason, prefix + row.locator, row.text)
    return Row(row.text, prefix + row.locator, row.origin, row.meta)


def _present(file: SourceFile, source: SourceConfig, runtime: RuntimeConfig) -> SourceFile:
    """Make sure that a local file is there and still the one that was pinned."""
    if is_url(file.url):
        return file
    path = Path(file.url)
    if not path.is_file() and source.place in FETCHED:  # another machine of the cluster
        _, found = locate(source, runtime)
        if found[0].digest != file.digest:
            raise DataError(
                f"this machine gets another version ({found[0].name}) than the run's ({file.name})",
                where=f"source {source.name}",
                mend="Share runtime.downloads between the machines.",
            )
        return file.model_copy(update={"url": found[0].url})
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(
            f"the file is gone ({error})",
            where=file.url,
            mend="Put it back; on a cluster, sources must lie where every machine sees them.",
        ) from error
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.mtime_ns):
        raise DataError(
            "the file changed since the run was planned",
            where=file.url,
            mend="Start the run again.",
        )
    return file
