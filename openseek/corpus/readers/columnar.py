"""Parquet, by row groups, and Arrow IPC (files and streams)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openseek.config.sources import ColumnConfig, SourceConfig
from openseek.corpus.readers.base import (
    Bad,
    Blob,
    Pending,
    Row,
    RowMapper,
    lacks_column,
    no_column,
    required,
    wrong_type,
)
from openseek.errors import DataError

BATCH = 256
"""Rows read at once: bounds memory by 256 documents of the largest size."""


def read_parquet(
    blob: Blob, source: SourceConfig, start: int = 0, end: int | None = None
) -> Iterator[Row | Bad | Pending]:
    """Read the row groups [start, end) of a parquet file; the origin is the row's number.

    Raises:
        DataError: It is not parquet, or its schema is not what the source's columns say.
    """
    with blob.open() as stream:
        file = _parquet(stream, blob.name)
        columns = _columns(source.columns, file.schema_arrow, blob.name)
        meta = file.metadata
        groups = list(range(start, meta.num_row_groups if end is None else end))
        first = sum(meta.row_group(i).num_rows for i in range(start))
        if groups:
            batches = file.iter_batches(batch_size=BATCH, row_groups=groups, columns=columns)
            yield from _rows(batches, source, blob.name, first)


def row_group_sizes(blob: Blob) -> list[int]:
    """List the uncompressed bytes of each row group of a parquet file.

    Raises:
        DataError: It is not parquet.
    """
    with blob.open() as stream:
        meta = _parquet(stream, blob.name).metadata
        return [meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)]


def read_arrow(blob: Blob, source: SourceConfig) -> Iterator[Row | Bad | Pending]:
    """Read an Arrow IPC file or stream.

    Raises:
        DataError: It is neither, or its schema is not what the source's columns say.
    """
    with blob.open() as stream:
        try:
            magic = stream.read(6)
            stream.seek(0)
            if magic == b"ARROW1":
                file = pa.ipc.open_file(stream)
                schema, batches = (
                    file.schema,
                    (file.get_batch(i) for i in range(file.num_record_batches)),
                )
            else:
                reader = pa.ipc.open_stream(stream)
                schema, batches = reader.schema, iter(reader)
        except (pa.ArrowInvalid, OSError) as error:
            raise _unreadable("Arrow", error, blob.name) from error
        columns = _columns(source.columns, schema, blob.name)
        yield from _rows((b.select(columns) for b in batches), source, blob.name, 0)


def _parquet(stream: Any, name: str) -> Any:
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable("parquet", error, name) from error


def _unreadable(kind: str, error: Exception, name: str) -> DataError:
    return DataError(
        f"not a readable {kind} file: {error}",
        where=name,
        mend="Fetch it again, or set the source's reader.",
    )


def _columns(columns: ColumnConfig, schema: Any, where: str) -> list[str]:
    """List the columns to read.

    Raises:
        DataError: One that the source names is not there, or the text is not of strings.
    """
    have = list(schema.names)
    text = () if columns.text_url else columns.text
    found = [c for c in text if _type(schema, c) is not None]
    if text and not found:
        raise no_column(columns, have, where)
    for column in found:
        kind = _type(schema, column)
        if not _is_text(kind):
            raise wrong_type([column], str(kind), where)
    needed = required(columns)
    for column in needed:
        if _type(schema, column) is None:
            raise lacks_column(column, have, where)
    wanted = (*found, *needed, *columns.meta, columns.id, columns.url)
    tops = {c if c in have else c.split(".")[0] for c in wanted if c}
    return [name for name in have if name in tops]


def _type(schema: Any, column: str) -> Any:
    """Return the type of a column, or of a field of a nested one; None: there is none."""
    if column in schema.names:
        return schema.field(column).type
    head, _, rest = column.partition(".")
    if not rest or head not in schema.names:
        return None
    kind = schema.field(head).type
    for name in rest.split("."):
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    t = pa.types
    return bool(
        t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind) or t.is_null(kind)
    )


def _rows(
    batches: Iterator[Any], source: SourceConfig, name: str, number: int
) -> Iterator[Row | Bad | Pending]:
    mapper = RowMapper(source.columns, name)
    try:
        for batch in batches:
            for i in range(batch.num_rows):
                where = f"{name}#row={number}"
                number += 1
                try:
                    row = {c: batch.column(j)[i].as_py() for j, c in enumerate(batch.schema.names)}
                except UnicodeDecodeError as error:
                    yield Bad("not UTF-8", where, str(error))
                    continue
                yield mapper.map(row, where)
    except (pa.ArrowInvalid, OSError) as error:
        yield Bad("the rest of the file is damaged", f"{name}#after-row={number}", str(error))
