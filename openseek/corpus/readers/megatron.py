r"""Token files of Megatron: NAME.bin with the tokens and NAME.idx with where each document lies.

The index, all little-endian: 9 bytes `MMIDIDX\0\0`, version (u64, 1), type of a token (u8), number
of sequences S (u64), number of document bounds D (u64), lengths of the sequences in tokens (S x
i32), their first bytes in the .bin (S x i64), and the sequences at which documents begin (D x
i64, from 0 to S). Parts are ranges of documents; of the index only what a part needs is read.
Source: Megatron-LM's indexed_dataset format, version 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from openseek.config.sources import SourceConfig
from openseek.corpus.detokenizer import Detokenizer, load_detokenizer
from openseek.corpus.readers.base import Bad, Blob, Row
from openseek.errors import ConfigError, DataError

MAGIC = b"MMIDIDX\x00\x00"
HEAD = struct.Struct("<9sQBQQ")
_TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


@dataclass(frozen=True)
class Index:
    """The head of an index.

    Attributes:
        stream: The index, open.
        where: Its name.
        dtype: Type of a token.
        sequences: S.
        bounds: D, one more than there are documents.
    """

    stream: BinaryIO
    where: str
    dtype: np.dtype[np.integer]
    sequences: int
    bounds: int

    @property
    def documents(self) -> int:
        """Number of documents."""
        return max(0, self.bounds - 1)

    def _array(self, offset: int, dtype: str, start: int, end: int) -> np.ndarray:
        item = np.dtype(dtype)
        self.stream.seek(offset + start * item.itemsize)
        data = self.stream.read((end - start) * item.itemsize)
        if len(data) != (end - start) * item.itemsize:
            raise _broken(f"it ends after {offset + start * item.itemsize + len(data)} bytes", self)
        return np.frombuffer(data, item)

    def first_sequences(self, start: int, end: int) -> np.ndarray:
        """Return the first sequence of the documents [start, end)."""
        return self._array(HEAD.size + 12 * self.sequences, "<i8", start, end)

    def lengths(self, start: int, end: int) -> np.ndarray:
        """Return the tokens of the sequences [start, end)."""
        return self._array(HEAD.size, "<i4", start, end)

    def offsets(self, start: int, end: int) -> np.ndarray:
        """Return the first byte of the sequences [start, end) in the .bin."""
        return self._array(HEAD.size + 4 * self.sequences, "<i8", start, end)


def is_index(name: str) -> bool:
    """Tell whether a file is the index of a token file, which is read together with that."""
    return name.endswith(".idx")


def _broken(what: str, index: Index) -> DataError:
    return DataError(
        f"not a whole index of tokens: {what}", where=index.where, mend="Fetch it again."
    )


def open_index(blob: Blob) -> Index:
    """Open the index of a token file; the caller closes its stream.

    Raises:
        DataError: There is none, or it is of another format.
    """
    name = blob.name.removesuffix(".bin") + ".idx"
    stream = blob.sibling(name)
    if stream is None:
        raise DataError(
            f"no index {name!r} beside it", where=blob.name, mend="Fetch both, .bin and .idx."
        )
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size or not head.startswith(MAGIC):
        raise DataError("not an index of tokens", where=name, mend="Fetch it again.")
    _, version, code, sequences, bounds = HEAD.unpack(head)
    if version != 1 or code not in _TYPES:
        raise DataError(
            f"an index of version {version} with token type {code}, which is not known",
            where=name, mend="Write it with version 1 and an integer type.",
        )  # fmt: skip
    index = Index(stream, name, np.dtype(_TYPES[code]), sequences, bounds)
    if bounds < 1 or index.first_sequences(bounds - 1, bounds)[0] != sequences:
        raise _broken("its documents do not end with its sequences", index)
    return index


def document_ranges(blob: Blob, limit: int) -> list[tuple[int, int, int | None]]:
    """Divide a token file into ranges of documents of about `limit` bytes.

    Returns:
        (size in bytes, first document, the one after the last) of each.
    """
    index = open_index(blob)
    with index.stream:
        firsts = index.first_sequences(0, index.bounds)
        lengths = index.lengths(0, index.sequences)
    sizes = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64) * index.dtype.itemsize])
    ends = sizes[firsts]
    ranges: list[tuple[int, int, int | None]] = []
    start = 0
    while start < index.documents:
        end = int(np.searchsorted(ends, ends[start] + limit, side="right")) - 1
        end = min(max(end, start + 1), index.documents)
        ranges.append((int(ends[end] - ends[start]), start, end))
        start = end
    return ranges


def read_megatron(
    blob: Blob, source: SourceConfig, start: int = 0, end: int | None = None
) -> Iterator[Row | Bad]:
    """Read the documents [start, end) of a token file as text; the origin is the number.

    Raises:
        ConfigError: The source names no tokenizer.
        DataError: The index is missing or broken.
    """
    if not source.tokenizer:
        raise ConfigError(
            "token files need their tokenizer to be read as text",
            where=f"source {source.name}",
            mend="Set the source's `tokenizer` to its folder, file or hub id.",
        )
    detokenizer = load_detokenizer(source.tokenizer)
    index = open_index(blob)
    with index.stream:
        end = index.documents if end is None else end
        firsts = index.first_sequences(start, end + 1)
        low, high = int(firsts[0]), int(firsts[-1])
        if not 0 <= low <= high <= index.sequences or (np.diff(firsts) < 0).any():
            raise _broken("its documents are not in order", index)
        lengths, offsets = index.lengths(low, high), index.offsets(low, high)
    with blob.open() as tokens:
        for i in range(end - start):
            where = f"{blob.name}#document={start + i}"
            ids = _Tokens(tokens, index.dtype)
            part = slice(int(firsts[i]) - low, int(firsts[i + 1]) - low)
            yield _document(ids, offsets[part], lengths[part], detokenizer, source, where)


@dataclass(frozen=True)
class _Tokens:
    stream: BinaryIO
    dtype: np.dtype[np.integer]

    def read(self, offset: int, length: int) -> np.ndarray | None:
        if self.stream.tell() != offset:
            self.stream.seek(offset)
        data = self.stream.read(length * self.dtype.itemsize)
        if len(data) < length * self.dtype.itemsize:
            return None
        return np.frombuffer(data, self.dtype)


def _document(
    tokens: _Tokens, offsets: np.ndarray, lengths: np.ndarray, detokenizer: Detokenizer,
    source: SourceConfig, where: str,
) -> Row | Bad:  # fmt: skip
    size = int(lengths.sum()) * tokens.dtype.itemsize
    if size > source.max_document:
        return Bad(f"document larger than {source.max_document} bytes of tokens", where)
    ids: list[np.ndarray] = []
    for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        found = tokens.read(offset, length) if length >= 0 and offset >= 0 else None
        if found is None:
            return Bad("the token file ends before the document", where)
        ids.append(found)
    try:
        return Row(detokenizer.decode(np.concatenate(ids) if ids else []), where)
    except UnicodeDecodeError as error:
        return Bad("its tokens are not UTF-8", where, str(error))
    except ValueError as error:
        return Bad("a token outside the vocabulary", where, str(error))


def write_megatron(
    path: Path, documents: Iterable[Sequence[int]], dtype: str = "int32"
) -> tuple[int, int]:
    """Write documents of token ids as `path` (.bin) and the index beside it.

    Args:
        path: The .bin file.
        documents: Token ids of each document, one sequence a document.
        dtype: NumPy name of the token type.

    Returns:
        Number of documents and of tokens.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    code = next(c for c, t in _TYPES.items() if np.dtype(t) == kind)
    lengths = []
    with path.open("wb") as out:
        for ids in documents:
            out.write(np.asarray(ids, dtype=kind).tobytes())
            lengths.append(len(ids))
    sizes = np.asarray(lengths, dtype="<i4")
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    with path.with_suffix(".idx").open("wb") as out:
        out.write(HEAD.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
        out.write(sizes.tobytes())
        out.write((starts * kind.itemsize).astype("<i8").tobytes())
        out.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())
    return len(lengths), int(sizes.sum())
