"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


class RowMapper:
    """Turn rows (dicts) into `Row`s by a column mapping.

    Args:
        columns: The mapping.
        where: File, for messages.
    """

    def __init__(self, columns: ColumnConfig, where: str) -> None:
        self.columns, self.where = columns, where
        self.good = self.tried = 0
        self.seen: dict[str, None] = {}

    def map(self, row: Any, locator: str) -> Row | Bad:
        """Map one row."""
        self.tried += 1
        if not isinstance(row, Mapping):
            return Bad("not an object", locator, str(row))
        parts = [pick(row, c) for c in self.columns.text]
        if all(p is None for p in parts):
            self.seen.update(dict.fromkeys(map(str, row)))
            if self.good == 0 and self.tried >= TRY_ROWS:
                self.check()
            return Bad("no text column", locator, str(dict(row)))
        if any(p is not None and not isinstance(p, str) for p in parts):
            return Bad("text is not a string", locator, str(parts))
        self.good += 1
        return Row(
            text="\n\n".join(p for p in parts if p),
            locator=locator,
            origin=str(pick(row, self.columns.url) or "") if self.columns.url else "",
            meta=self._meta(row),
        )

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        meta = {c: _plain(value) for c in self.columns.meta if (value := pick(row, c)) is not None}
        if self.columns.id and (value := pick(row, self.columns.id)) is not None:
            meta["id"] = str(value)
        return meta

    def check(self) -> None:
        """Refuse a file none of whose rows has the text column.

        Raises:
            DataError: Rows were seen, and none had it.
        """
        if self.good == 0 and self.seen:
            raise no_column(self.columns, list(self.seen), self.where)


def no_column(columns: ColumnConfig, seen: list[str], where: str) -> DataError:
    """Build the error for a text column that is not there."""
    return DataError(
        f"no text column {' or '.join(map(repr, columns.text))}; "
        f"the rows have {', '.join(seen[:20])}",
        where=where,
        mend="Set the source's columns.text.",
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
