r"""JSON Lines, compressed or not, whole or by byte range.

Lines end at `\n` alone: `str.splitlines` would also cut at U+2028, U+0085 and others that JSON
allows inside strings. A line longer than the limit is never held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openseek.config.sources import SourceConfig
from openseek.corpus.readers.base import Bad, Blob, Pending, Row, RowMapper
from openseek.corpus.streams import DamagedStreamError, chunks

KEPT = 2000


@dataclass(frozen=True)
class Line:
    """A line of a file: where it starts, its bytes (the first ones, when too long), its length."""

    offset: int
    data: bytes
    size: int


def iter_lines(pieces: Iterator[bytes], limit: int, offset: int = 0) -> Iterator[Line]:
    r"""Cut a stream of bytes at `\n`, holding at most `limit` bytes of a line.

    Args:
        pieces: The stream; what it raises is passed on after the lines that ended before.
        limit: Bytes kept of a line; a longer one has `size > len(data)`.
        offset: Position of the stream's first byte in the file.
    """
    held, size = bytearray(), 0
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            size += end - start
            held += piece[start : min(end, start + limit - len(held))]
            yield Line(offset, bytes(held), size)
            offset += size + 1
            held, size, start = bytearray(), 0, end + 1
        size += len(piece) - start
        held += piece[start : start + limit - len(held)]
    if size:
        yield Line(offset, bytes(held), size)


def read_jsonl(
    blob: Blob, source: SourceConfig, start: int = 0, end: int | None = None
) -> Iterator[Row | Bad | Pending]:
    """Read the lines that begin in the bytes [start, end) of a file.

    Ranges that tile a file give each line exactly once. Compressed files are read as a whole.

    Args:
        blob: The file.
        source: Column mapping and limits.
        start: First byte.
        end: Byte after the last; None: the end of the file.

    Raises:
        DataError: No row has the text column.
    """
    mapper = RowMapper(source.columns, blob.name)
    stream = blob.open()
    lines = 0
    with stream:
        if start:
            stream.seek(start - 1)  # the byte before tells whether a line begins at `start`
        found = iter_lines(chunks(stream, blob.name), source.max_document, max(0, start - 1))
        try:
            if start:
                next(found, None)
            for line in found:
                if end is not None and line.offset >= end:
                    break
                lines += 1
                if line.data.strip():
                    yield _parse(line, source.max_document, blob.name, mapper)
        except DamagedStreamError as damage:
            reason = damage.what.split(" (")[0]
            yield Bad(reason, f"{blob.name}#after-line={lines}", damage.what)
    mapper.check()


def _parse(line: Line, limit: int, name: str, mapper: RowMapper) -> Row | Bad | Pending:
    where = f"{name}#byte={line.offset}"
    if line.size > len(line.data):
        head = line.data[:KEPT].decode("utf-8", "replace")
        return Bad(f"line longer than {limit} bytes", where, f"{line.size} bytes: {head}")
    data = line.data.removeprefix(b"\xef\xbb\xbf") if line.offset == 0 else line.data
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Bad(
            "not UTF-8",
            where,
            f"{error.reason} at {error.start}: {data[:KEPT].decode('utf-8', 'replace')}",
        )
    try:
        row: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Bad("not JSON", where, f"{error}: {text[:KEPT]}")
    return mapper.map(row, where)
