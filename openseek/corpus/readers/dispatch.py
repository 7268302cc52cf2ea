"""Which reader reads which file."""

from __future__ import annotations

from collections.abc import Iterator

from openseek.config.sources import SourceConfig
from openseek.corpus.readers.base import Bad, Blob, Pending, Row
from openseek.corpus.readers.columnar import read_arrow, read_parquet
from openseek.corpus.readers.contents import fetch_texts
from openseek.corpus.readers.dictd import read_dictd
from openseek.corpus.readers.jsonl import read_jsonl
from openseek.corpus.readers.megatron import read_megatron
from openseek.corpus.readers.text import pack, read_text
from openseek.corpus.readers.warc import read_warc
from openseek.corpus.streams import plain_name

_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".dict": "dictd", ".warc": "warc", ".wet": "warc",
    ".bin": "megatron",
}  # fmt: skip


def reader_of(name: str, source: SourceConfig) -> str:
    """Name the reader of a file: the source's, or by the file's suffix (text for unknown ones)."""
    if source.reader != "auto":
        return source.reader
    plain = plain_name(name).lower()
    return next((r for suffix, r in _SUFFIXES.items() if plain.endswith(suffix)), "text")


def read_blob(
    blob: Blob, source: SourceConfig, start: int = 0, end: int | None = None
) -> Iterator[Row | Bad]:
    """Read a file, or the part [start, end) of it.

    A part counts in bytes of JSON Lines, row groups of parquet, documents of token files.
    """
    return fetch_texts(_rows(blob, source, start, end), source)


def _rows(
    blob: Blob, source: SourceConfig, start: int, end: int | None
) -> Iterator[Row | Bad | Pending]:
    kind = reader_of(blob.name, source)
    if kind == "jsonl":
        return read_jsonl(blob, source, start, end)
    if kind == "parquet":
        return read_parquet(blob, source, start, end)
    if kind == "arrow":
        return read_arrow(blob, source)
    if kind == "warc":
        return read_warc(blob, source)
    if kind == "megatron":
        return read_megatron(blob, source, start, end)
    rows = read_dictd(blob, source) if kind == "dictd" else read_text(blob, source)
    return pack(rows, source.text.pack_chars) if source.text.pack_chars else rows
