"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, BinaryIO

from openseek.config.sources import ColumnConfig
from openseek.errors import DataError

TRY_ROWS = 100
"""After so many rows without the text column, the column's name is taken for wrong."""


@dataclass(frozen=True)
class Row:
    """One document as it was read.

    Attributes:
        text: The text.
        locator: Where it is in the source, unique there.
        origin: Where it is, for people; empty: the locator.
        meta: Columns to keep.
    """

    text: str
    locator: str
    origin: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bad:
    """A row that cannot be used, why, and what there is of it."""

    reason: str
    locator: str
    text: str = ""


@dataclass(frozen=True)
class Pending:
    """A row whose text is still to be fetched, from where `columns.text_url` says."""

    row: Row
    url: str
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Blob:
    """A file to read, wherever it lies.

    Attributes:
        name: Name inside the source.
        open: Opens its bytes, still compressed.
        sibling: Opens the file of another name beside it, or None.
        size: Bytes as stored.
    """

    name: str
    open: Callable[[], BinaryIO]
    sibling: Callable[[str], BinaryIO | None] = lambda _: None
    size: int = 0


def pick(row: Mapping[str, Any], column: str) -> Any:
    """Look a column up; `a.b` reaches into a nested object where no column has that very name."""
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def has(row: Mapping[str, Any], column: str) -> bool:
    """Tell whether a row has a column, or a nested one, even if it is null there."""
    if column in row:
        return True
    head, _, rest = column.partition(".")
    inner = row.get(head) if rest else None
    return isinstance(inner, Mapping) and has(inner, rest)


def required(columns: ColumnConfig) -> list[str]:
    """List the columns beside the text that every file must have."""
    named = [*columns.meta, columns.id, columns.url, columns.text_encoding]
    named += [c for _, c, _, _ in Formatter().parse(columns.text_url) if c]
    return [c for c in dict.fromkeys(named) if c and c not in columns.optional]


class RowMapper:
    """Turn rows (dicts) into `Row`s by a column mapping, and notice when a file has other columns.

    Args:
        columns: The mapping.
        where: File, for messages.
    """

    def __init__(self, columns: ColumnConfig, where: str) -> None:
        self.columns, self.where = columns, where
        self.good = self.tried = 0
        self.seen: dict[str, None] = {}
        self.kinds: dict[str, None] = {}
        self.unseen = required(columns)

    def map(self, row: Any, locator: str) -> Row | Bad | Pending:
        """Map one row.

        Raises:
            DataError: None of the file's first rows has a column that every row should have.
        """
        self.tried += 1
        if not isinstance(row, Mapping):
            return Bad("not an object", locator, str(row))
        if self.unseen:
            self.unseen = [c for c in self.unseen if not has(row, c)]
            self.seen.update(dict.fromkeys(map(str, row)))
            if self.unseen and self.tried == TRY_ROWS:
                raise lacks_column(self.unseen[0], list(self.seen), self.where)
        if self.columns.text_url:
            return self._pending(row, locator)
        parts = [pick(row, c) for c in self.columns.text]
        if all(p is None for p in parts):
            self.seen.update(dict.fromkeys(map(str, row)))
            return self._no_text(Bad("no text column", locator, str(dict(row))))
        if any(p is not None and not isinstance(p, str) for p in parts):
            self.kinds.update(dict.fromkeys(type(p).__name__ for p in parts if p is not None))
            return self._no_text(Bad("text is not a string", locator, str(parts)))
        self.good += 1
        return Row("\n\n".join(p for p in parts if p), locator, self._url(row), self._meta(row))

    def _no_text(self, bad: Bad) -> Bad:
        if self.good == 0 and self.tried >= TRY_ROWS:
            self.check()
        return bad

    def _pending(self, row: Mapping[str, Any], locator: str) -> Bad | Pending:
        columns = self.columns
        try:
            url = columns.text_url.format_map(row)
        except KeyError as error:
            return Bad(f"no column {error} for text_url", locator, str(dict(row)))
        encoding = pick(row, columns.text_encoding) if columns.text_encoding else None
        self.good += 1
        empty = Row("", locator, self._url(row), self._meta(row))
        return Pending(empty, url, str(encoding or "utf-8"))

    def _url(self, row: Mapping[str, Any]) -> str:
        return str(pick(row, self.columns.url) or "") if self.columns.url else ""

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        meta = {c: _plain(value) for c in self.columns.meta if (value := pick(row, c)) is not None}
        if self.columns.id and (value := pick(row, self.columns.id)) is not None:
            meta["id"] = str(value)
        return meta

    def check(self) -> None:
        """Refuse a file none of whose rows has a text.

        Raises:
            DataError: Rows were seen, and none had it, or all had something else in its place.
        """
        if self.good:
            return
        if self.kinds:
            raise wrong_type(self.columns.text, " and ".join(self.kinds), self.where)
        if self.seen and not self.columns.text_url:
            raise no_column(self.columns, list(self.seen), self.where)


_CHANGED = (
    "If the source has changed, mend its columns; leave a file of another kind out with `exclude`"
)


def no_column(columns: ColumnConfig, seen: list[str], where: str) -> DataError:
    """Build the error for a text column that is not there."""
    return DataError(
        f"no text column {' or '.join(map(repr, columns.text))}; "
        f"the rows have {', '.join(seen[:20])}",
        where=where,
        mend="Set the source's columns.text.",
    )


def lacks_column(column: str, seen: list[str], where: str) -> DataError:
    """Build the error for a file without a column that the source's mapping names."""
    return DataError(
        f"no column {column!r}, which the source's columns name; it has {', '.join(seen[:20])}",
        where=where,
        mend=f"{_CHANGED}; if it may be missing, add it to columns.optional.",
    )


def wrong_type(names: Sequence[str], kind: str, where: str) -> DataError:
    """Build the error for a text column that holds something else."""
    return DataError(
        f"the text column {' or '.join(map(repr, names))} holds {kind}, not strings",
        where=where,
        mend=f"{_CHANGED}.",
    )


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value)
