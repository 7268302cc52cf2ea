"""Texts that a row only names: `columns.text_url` says where each one lies.

They are fetched some at a time, in the order of the rows, so that the documents are the same
whatever arrives first. Used for corpora of code whose files Software Heritage keeps.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from openseek.config.sources import SourceConfig
from openseek.corpus.readers.base import Bad, Pending, Row
from openseek.corpus.streams import open_bytes
from openseek.errors import DataError

FETCHES = 32
"""Texts fetched at the same time by one worker: a small file takes a round trip of 10 to 100 ms."""
BATCH = 256
_GZIP = b"\x1f\x8b"


def fetch_texts(items: Iterator[Row | Bad | Pending], source: SourceConfig) -> Iterator[Row | Bad]:
    """Fetch the texts of pending rows; those of a source without `columns.text_url` pass.

    Raises:
        ConfigError: Access is denied.
        TransientError: A place does not answer.
    """
    if not source.columns.text_url:
        yield from (item for item in items if not isinstance(item, Pending))
        return
    with ThreadPoolExecutor(FETCHES) as pool:
        while batch := list(islice(items, BATCH)):
            yield from pool.map(lambda item: _fetched(item, source.max_document), batch)


def _fetched(item: Row | Bad | Pending, limit: int) -> Row | Bad:
    if not isinstance(item, Pending):
        return item
    where = item.row.locator
    try:
        with open_bytes(item.url) as stream:
            data = stream.read(limit + 1)
    except DataError as error:
        return Bad("its text is not there", where, f"{item.url}: {error.what}")
    if data.startswith(_GZIP):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, limit + 1)
        except zlib.error as error:
            return Bad("its text is damaged", where, f"{item.url}: {error}")
    if len(data) > limit:
        return Bad(f"text longer than {limit} bytes", where, item.url)
    try:
        text = data.decode(item.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        return Bad("its text is not in its encoding", where, f"{item.url}: {error}")
    return Row(text, where, item.row.origin or item.url, item.row.meta)
