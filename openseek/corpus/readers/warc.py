"""Web archives: WARC (raw pages) and WET (their text), record by record.

A WARC file is a row of records: a version line, headers, an empty line, `Content-Length` bytes.
`conversion` records are text already; of `response` records the HTTP body is taken, of HTML what a
reader sees; `resource` records are bodies without HTTP. The others (requests, metadata) and bodies
that are no text (images, archives, answers other than 200) are passed over in silence. At most one
record of `max_document` bytes is held. Source: ISO 28500 (WARC 1.0 and 1.1), RFC 9112 for HTTP.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from openseek.config.sources import SourceConfig
from openseek.corpus.readers.base import Bad, Blob, Row
from openseek.corpus.readers.html import html_charset, html_to_text
from openseek.corpus.streams import DamagedStreamError, chunks

HEAD = 65_536
"""Longest head of a record or of an HTTP answer, in bytes."""
_HTML = ("text/html", "application/xhtml+xml")
_TEXT = ("text/plain", "text/markdown")
_KEPT = {
    "WARC-Date": "date",
    "WARC-Record-ID": "id",
    "WARC-Identified-Content-Language": "languages",
}


@dataclass(frozen=True)
class Record:
    """One record: its headers, its body (cut at the limit), the body's whole length."""

    headers: dict[str, str]
    body: bytes
    size: int

    def header(self, name: str) -> str:
        """Return a header, whatever its case; empty: there is none."""
        return self.headers.get(name.lower(), "")


class _Pieces:
    """A stream of bytes read by amount, at most `HEAD` and a piece at once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.held = bytearray()

    def fill(self, n: int) -> bool:
        """Hold at least n bytes; False: the stream ends before."""
        while len(self.held) < n:
            piece = next(self.pieces, None)
            if piece is None:
                return False
            self.held += piece
        return True

    def until(self, mark: bytes, limit: int) -> bytes | None:
        """Take the bytes up to a mark and the mark; None: it does not come within the limit."""
        start = 0
        while (end := self.held.find(mark, start)) < 0:
            if len(self.held) > limit:
                return None
            start = max(0, len(self.held) - len(mark) + 1)
            if not self.fill(len(self.held) + 1):
                return None
        return self.take(end + len(mark))

    def take(self, n: int) -> bytes:
        taken = bytes(self.held[:n])
        del self.held[:n]
        return taken

    def body(self, size: int, limit: int) -> tuple[bytes, int]:
        """Take `size` bytes, keep the first `limit` of them; returns also how many there were."""
        kept, seen = bytearray(), 0
        while seen < size:
            if not self.held and not self.fill(1):
                break
            piece = self.take(min(len(self.held), size - seen))
            kept += piece[: limit - len(kept)]
            seen += len(piece)
        return bytes(kept), seen


def read_warc(blob: Blob, source: SourceConfig) -> Iterator[Row | Bad]:
    """Read the pages of a WARC or WET file, plain or compressed; the origin is the page's URL."""
    with blob.open() as stream:
        pieces = _Pieces(chunks(stream, blob.name))
        number = 0
        try:
            while (record := _record(pieces, source.max_document)) is not None:
                where = f"{blob.name}#record={number}"
                number += 1
                if isinstance(record, str):
                    yield Bad(record, where, bytes(pieces.held[:200]).decode("utf-8", "replace"))
                    return
                row = _row(record, source, where)
                if row is not None:
                    yield row
        except DamagedStreamError as damage:
            reason = damage.what.split(" (")[0]
            yield Bad(reason, f"{blob.name}#after-record={number - 1}", damage.what)


def _record(pieces: _Pieces, limit: int) -> Record | str | None:
    """Take the next record; None: the file ends; a string: why it can't be read any further."""
    while pieces.fill(1) and pieces.held[0] in b"\r\n":  # what ends the record before
        pieces.take(1)
    if not pieces.held:
        return None
    head = pieces.until(b"\r\n\r\n", HEAD)
    if head is None or not head.startswith(b"WARC/"):
        return "not a WARC record"
    headers = _headers(head.split(b"\r\n", 1)[1])
    length = headers.get("content-length", "")
    if not length.isdigit():
        return "a record without Content-Length"
    body, size = pieces.body(int(length), limit + HEAD)
    if size < int(length):
        return "the file ends within a record"
    return Record(headers, body, size)


def _headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t")):
            headers[name.strip().lower()] = value.strip()
    return headers


def _row(record: Record, source: SourceConfig, where: str) -> Row | Bad | None:
    """Make a page of a record; None: it holds none."""
    kind = record.header("WARC-Type")
    content, body = record.header("Content-Type"), record.body
    if kind == "response" and content.startswith("application/http"):
        answer = _http(body, source.max_document)
        if answer is None:
            return None
        content, body = answer
    elif kind not in ("conversion", "resource"):
        return None
    mime = content.partition(";")[0].strip().lower()
    html = mime in _HTML
    if not html and mime not in _TEXT:
        return None
    if record.size > len(record.body) or len(body) > source.max_document:
        return Bad(f"record larger than {source.max_document} bytes", where)
    encoding = _charset(content) or (
        html_charset(body, source.text.encoding) if html else source.text.encoding
    )
    try:
        text = body.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except (UnicodeDecodeError, LookupError) as error:
        reason = "not UTF-8" if encoding.lower() in ("utf-8", "utf8") else "not in its charset"
        return Bad(reason, where, f"{error}: {body[:500].decode('utf-8', 'replace')}")
    if html:
        try:
            text = html_to_text(text, source.text.skip)
        except ValueError as error:
            return Bad("cannot be parsed", where, str(error))
    meta = {key: v for name, key in _KEPT.items() if (v := record.header(name))}
    return Row(text.replace("\r\n", "\n"), where, record.header("WARC-Target-URI"), meta)


def _http(data: bytes, limit: int) -> tuple[str, bytes] | None:
    """Return content type and body of an HTTP answer; None: not a 200, or it can't be unpacked."""
    head, mark, body = data[: HEAD + 4].partition(b"\r\n\r\n")
    if not mark:
        return None
    body = data[len(head) + 4 :]
    status, _, lines = head.partition(b"\r\n")
    if status.split(b" ")[1:2] != [b"200"]:
        return None
    headers = _headers(lines)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunked(body)
    encoding = headers.get("content-encoding", "").lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        with contextlib.suppress(zlib.error):  # crawlers often unpack it and keep the header
            body = zlib.decompressobj(wbits=47).decompress(body, limit + 1)
    elif encoding not in ("", "identity", "br"):
        return None
    return headers.get("content-type", "text/html"), body


def _unchunked(data: bytes) -> bytes:
    """Join the chunks of a body; one that is not in chunks (crawlers join them) stays as it is."""
    out, at = bytearray(), 0
    while True:
        end = data.find(b"\r\n", at, at + 32)
        size = data[at:end].split(b";")[0].strip() if end >= 0 else b""
        try:
            n = int(size, 16)
        except ValueError:
            return bytes(out) if out else data
        if n == 0:
            return bytes(out)
        out += data[end + 2 : end + 2 + n]
        at = end + 4 + n


def _charset(content: str) -> str:
    for part in content.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")
    return ""
