"""Files of running text: plain, Markdown, code, HTML, manual pages, docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from openseek.config.sources import SourceConfig, TextConfig
from openseek.corpus.readers.base import Bad, Blob, Row
from openseek.corpus.readers.docstrings import docstrings
from openseek.corpus.readers.html import html_charset, html_to_text
from openseek.corpus.readers.man import man_to_text
from openseek.corpus.streams import DamagedStreamError, plain_name, read_whole

_HTML = (".html", ".htm", ".xhtml")
_MAN = re.compile(r"\.[1-9][a-z]*$")
_VERSION = re.compile(r"^[^/]*==[^/]*/")  # `networkx==3.6.1/` before an installed package's files
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours of terminal texts


def read_text(blob: Blob, source: SourceConfig) -> Iterator[Row | Bad]:
    """Read one file as one document, or several where `text.split` is set."""
    options = source.text
    try:
        with blob.open() as stream:
            data = read_whole(stream, blob.name, source.max_document)
    except DamagedStreamError as damage:
        yield Bad(damage.what.split(" (")[0], blob.name, damage.what)
        return
    if data is None:
        yield Bad(f"file larger than {source.max_document} bytes", blob.name)
        return
    name = plain_name(blob.name)
    kind = _kind(name, options)
    encoding = html_charset(data, options.encoding) if kind == "html" else options.encoding
    try:
        text = data.decode("utf-8-sig" if encoding.lower() == "utf-8" else encoding)
    except (UnicodeDecodeError, LookupError) as error:
        head = data[:2000].decode("utf-8", "replace")
        yield Bad(
            "not UTF-8" if encoding.lower() == "utf-8" else f"not {encoding}",
            blob.name,
            f"{error}: {head}",
        )
        return
    try:
        text = _extract(text.replace("\r\n", "\n").replace("\r", "\n"), kind, name, options)
    except ValueError as error:
        yield Bad("cannot be parsed", blob.name, str(error))
        return
    if not options.split:
        yield Row(text, blob.name)
        return
    pieces = [p.strip("\n") for p in text.split(options.split)]
    for i, piece in enumerate(pieces):
        if piece.strip():
            yield Row(piece, f"{blob.name}#part={i}")


def _kind(name: str, options: TextConfig) -> str:
    if options.extract != "auto":
        return options.extract
    if name.lower().endswith(_HTML):
        return "html"
    return "man" if _MAN.search(name) else "raw"


def _extract(text: str, kind: str, name: str, options: TextConfig) -> str:
    if kind == "html":
        return html_to_text(text, options.skip)
    if kind == "man":
        return man_to_text(text)
    if kind == "docstrings":
        module = PurePosixPath(_VERSION.sub("", name)).with_suffix("").as_posix()
        return docstrings(text, module.removesuffix("/__init__").replace("/", "."))
    return _ANSI.sub("", text)


def pack(rows: Iterator[Row | Bad], chars: int) -> Iterator[Row | Bad]:
    """Join neighbouring rows of one file until a document has at least `chars` characters."""
    held: list[Row] = []
    size = 0
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        held.append(row)
        size += len(row.text)
        if size >= chars:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(rows: list[Row]) -> Row:
    return Row("\n\n".join(r.text for r in rows), rows[0].locator, rows[0].origin, rows[0].meta)
