"""Dictionaries of the DICT protocol: `NAME.dict.dz` (or `.dict`) with `NAME.index` beside it.

The index has `headword TAB offset TAB length` lines with numbers in base 64 (dictfmt(1)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from openseek.config.sources import SourceConfig
from openseek.corpus.readers.base import Bad, Blob, Row
from openseek.corpus.streams import plain_name, read_whole
from openseek.errors import DataError

_DIGITS = {
    c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_LINK = re.compile(r"\{([^{}]*)\}")
LARGEST = 2_000_000_000
"""Bytes of a dictionary that are read at once; the largest free one has 60 MB."""


def read_dictd(blob: Blob, source: SourceConfig) -> Iterator[Row | Bad]:
    """Read a dictionary's entries in the order of the file, without the `00-database` ones.

    Raises:
        DataError: The index is missing or the dictionary is too large.
    """
    index_name = plain_name(blob.name).removesuffix(".dict") + ".index"
    index = blob.sibling(index_name)
    if index is None:
        raise DataError(
            f"no index {index_name!r} beside it",
            where=blob.name,
            mend="Let the source's files match the index too.",
        )
    with index:
        lines = index.read().decode("utf-8", "replace").split("\n")
    with blob.open() as stream:
        data = read_whole(stream, blob.name, LARGEST)
    if data is None:
        raise DataError(
            f"larger than {LARGEST} bytes", where=blob.name, mend="Convert it to JSON Lines."
        )
    seen: set[tuple[int, int]] = set()
    for start, size in sorted(_spans(lines)):
        if (start, size) in seen:  # several headwords share an entry
            continue
        seen.add((start, size))
        where = f"{blob.name}#byte={start}"
        try:
            text = data[start : start + size].decode(source.text.encoding)
        except UnicodeDecodeError as error:
            yield Bad("not UTF-8", where, str(error))
            continue
        yield Row(_LINK.sub(r"\1", text).strip(), where)


def _spans(lines: list[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        fields = line.split("\t")
        if len(fields) >= 3 and not fields[0].startswith(("00-database", "00database")):
            yield _number(fields[1]), _number(fields[2])


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _DIGITS.get(digit, 0)
    return value
