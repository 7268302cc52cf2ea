"""Document shards on disk: parquet, zstd level 3, row groups of at most 2,000 rows.

The same rows give the same bytes, whatever the batches they came in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openseek.corpus.document import DOCUMENT_SCHEMA, document_id
from openseek.errors import DataError

ROWS = 2000
GROUP_BYTES = 32_000_000
"""A row group ends early at so much text, so that long documents do not fill the memory."""

COLUMNS = DOCUMENT_SCHEMA.names


def make_document(
    text: str,
    *,
    source: str,
    category: str,
    lang: str,
    license: str,
    origin: str,
    locator: str = "",
    tier: str = "",
    meta: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build one row of the Document schema.

    Args:
        text: The document.
        source: Name of its source.
        category: foundation, code, math or cot.
        lang: BCP 47 language.
        license: SPDX expression or `unknown`.
        origin: Where in the source it is, for people.
        locator: Where it is, unique in the source; goes into the id. Empty: the origin.
        tier: Quality bucket.
        meta: Lineage and labels.
    """
    about = json.dumps(dict(meta or {}), ensure_ascii=False, sort_keys=True)
    return {
        "id": document_id(source, locator or origin, text), "text": text, "source": source,
        "category": category, "lang": lang, "license": license, "origin": _storable(origin),
        "tier": tier, "score": None, "meta": _storable(about),
    }  # fmt: skip


def _storable(text: str) -> str:
    """Replace lone surrogates, which have no UTF-8, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _open_writer(path: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        DOCUMENT_SCHEMA,
        compression="zstd",
        compression_level=3,
        version="2.6",
        use_dictionary=["source", "category", "lang", "license", "tier"],
        write_statistics=False,
    )


class DocumentWriter:
    """Write documents to one parquet file, row group by row group.

    Args:
        path: File to write; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.text_bytes = 0
        self._rows: list[Mapping[str, Any]] = []
        self._bytes = 0
        self._writer = _open_writer(path)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one document."""
        size = len(row["text"].encode("utf-8"))
        self._rows.append(row)
        self._bytes += size
        self.text_bytes += size
        self.rows += 1
        if len(self._rows) >= ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        columns = {name: [row[name] for row in self._rows] for name in COLUMNS}
        table = pa.Table.from_pydict(columns, schema=DOCUMENT_SCHEMA)
        self._writer.write_table(table, row_group_size=ROWS)
        self._rows, self._bytes = [], 0

    def close(self) -> None:
        """Write what is left and finish the file."""
        if self._rows:
            self._flush()
        self._writer.close()

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TableWriter:
    """Write tables of documents to one parquet file; no more than a row group is held.

    Args:
        path: File to write; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._waiting = DOCUMENT_SCHEMA.empty_table()
        self._writer = _open_writer(path)

    def add(self, table: pa.Table) -> None:
        """Append documents.

        Raises:
            DataError: A column of the Document schema is missing or has another type.
        """
        self.rows += int(table.num_rows)
        self._write(pa.concat_tables([self._waiting, _as_documents(table, self.path)]), last=False)

    def _write(self, table: pa.Table, *, last: bool) -> None:
        start = 0
        for end in _group_ends(pc.binary_length(table["text"]).to_pylist(), last=last):
            group = table.slice(start, end - start).combine_chunks()
            self._writer.write_table(group, row_group_size=ROWS)
            start = end
        self._waiting = table.slice(start)

    def close(self) -> None:
        """Write what is left and finish the file."""
        self._write(self._waiting, last=True)
        self._writer.close()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_documents(table: pa.Table, path: Path) -> pa.Table:
    missing = [c for c in COLUMNS if c not in table.column_names]
    if missing:
        raise DataError(
            f"no column {missing[0]!r}", where=str(path), mend="Keep the Document schema."
        )
    try:
        return table.select(COLUMNS).cast(DOCUMENT_SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(
            f"not of the Document schema: {error}", where=str(path), mend="Mend the column's type."
        ) from error


def write_table(path: Path, table: pa.Table) -> int:
    """Write a table of documents to a parquet shard and return the number of its rows.

    Raises:
        DataError: A column of the Document schema is missing or has another type.
    """
    with TableWriter(path) as writer:
        writer.add(table)
    return writer.rows


def _group_ends(sizes: list[int], *, last: bool) -> Iterator[int]:
    """Yield where row groups end, for texts of these sizes: as `DocumentWriter` cuts them."""
    start = total = 0
    for i, size in enumerate(sizes, start=1):
        total += size
        if i - start >= ROWS or total >= GROUP_BYTES or (last and i == len(sizes)):
            yield i
            start, total = i, 0


def write_documents(path: Path, documents: pa.Table | Iterable[Mapping[str, Any]]) -> int:
    """Write documents (a table or rows as dicts) to a parquet shard and return their number.

    Raises:
        DataError: A column of the Document schema is missing or has another type.
    """
    if isinstance(documents, pa.Table):
        return write_table(path, documents)
    with DocumentWriter(path) as writer:
        for row in documents:
            writer.add(row)
    return writer.rows


def iter_batches(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a shard's record batches of at most 2,000 rows, in order.

    Raises:
        DataError: The file is not a shard of documents.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"not a parquet file: {error}", where=str(path), mend="Make the shard again."
        ) from error
    with file:
        missing = [c for c in columns or COLUMNS if c not in file.schema_arrow.names]
        if missing:
            raise DataError(
                f"no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}",
                where=str(path),
                mend="This is not a shard of documents; ingest it first.",
            )
        yield from file.iter_batches(batch_size=ROWS, columns=columns or COLUMNS)


def read_documents(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield a shard's documents as dicts, in order, in bounded memory."""
    for batch in iter_batches(path, columns):
        yield from batch.to_pylist()
