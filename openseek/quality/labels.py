"""Labelled texts from files of any usual shape: what a classifier of names learns from."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openseek.config.labelling import DomainClassifierConfig
from openseek.corpus.readers.base import has, pick
from openseek.corpus.readers.jsonl import iter_lines
from openseek.corpus.streams import chunks, plain_name
from openseek.errors import DataError

MOST_LABELS = 256  # more are no labels: somebody named a column of ids
_LINE_BYTES = 64_000_000
_BATCH_ROWS = 1000
_EXTRAS = ("id", "lang", "teacher", "prompt")  # read where a file has them

_Entry = tuple[int, str, str, str]
"""Place (larger comes first), id, text, language."""


@dataclass(frozen=True)
class Labelled:
    """A text with its label."""

    id: str
    text: str
    label: str
    lang: str = ""


@dataclass
class Drawn:
    """What was drawn from labelled rows.

    Attributes:
        rows: By label, then by id.
        read: Rows read.
        skipped: Reason -> rows that were not used: no_text, no_label, rare_label, above_per_label.
        teachers: Who labelled the rows, where they say it.
        prompts: What the teachers were asked, where they say it.
    """

    rows: list[Labelled] = field(default_factory=list)
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    teachers: set[str] = field(default_factory=set)
    prompts: set[str] = field(default_factory=set)


def draw(files: Iterable[tuple[str, Path]], config: DomainClassifierConfig) -> Drawn:
    """Draw at most `per_label` rows of each label; which ones follows from their ids alone.

    Memory is bounded by per_label x labels x read_chars, whatever the size of the files.

    Args:
        files: (name, path); what has another suffix than parquet or JSONL is passed over.
        config: Columns and limits.

    Raises:
        DataError: A file cannot be read or lacks a column, or there are too many labels.
    """
    found: dict[str, list[_Entry]] = {}
    drawn = Drawn()
    for name, path in sorted(files):
        for row in read_rows(path, name, config):
            drawn.read += 1
            text, label = pick(row, config.text), _label(row, config.label)
            if not isinstance(text, str) or not text.strip():
                drawn.skipped["no_text"] += 1
            elif not label:
                drawn.skipped["no_label"] += 1
            else:
                drawn.teachers.update(_told(row, "teacher"))
                drawn.prompts.update(_told(row, "prompt"))
                pile = found.setdefault(label, [])
                drawn.skipped["above_per_label"] += _push(pile, row, text, config)
                _refuse_too_many(found, config, name)
    for label in sorted(found):
        if len(found[label]) < config.least_rows:
            drawn.skipped["rare_label"] += len(found[label])
            continue
        rows = sorted(entry[1:] for entry in found[label])
        drawn.rows += [Labelled(doc_id, text, label, lang) for doc_id, text, lang in rows]
    drawn.skipped = Counter({k: n for k, n in sorted(drawn.skipped.items()) if n})
    return drawn


def _told(row: Mapping[str, Any], column: str) -> list[str]:
    value = row.get(column)
    return [value] if isinstance(value, str) and value else []


def _push(
    pile: list[_Entry], row: Mapping[str, Any], text: str, config: DomainClassifierConfig
) -> int:
    """Keep the rows with the smallest hashes of their ids; return how many had to go."""
    doc_id = row.get("id")
    if not isinstance(doc_id, str) or not doc_id:
        doc_id = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
    lang = "".join(_told(row, "lang"))
    entry = (-_place_of(doc_id), doc_id, text[: config.read_chars], lang)
    if len(pile) < config.per_label:
        heapq.heappush(pile, entry)
        return 0
    heapq.heappushpop(pile, entry)
    return 1


def _place_of(doc_id: str) -> int:
    """Hash an id by another function than `part_of`.

    Two checksums of one kind are related: the rows that are drawn would all be in one part.
    """
    digest = hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=8, person=b"draw")
    return int.from_bytes(digest.digest(), "big")


def _label(row: Mapping[str, Any], column: str) -> str:
    head, _, rest = column.partition(".")
    value: Any
    if rest and column not in row and isinstance(row.get(head), str):  # an object written as JSON
        value = pick(_object(row[head]), rest)
    else:
        value = pick(row, column)
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_too_many(found: Mapping[str, Any], config: DomainClassifierConfig, name: str) -> None:
    if len(found) > MOST_LABELS:
        some = ", ".join(repr(label[:30]) for label in list(found)[:3])
        raise DataError(
            f"the column {config.label!r} has more than {MOST_LABELS} labels ({some}, …)",
            where=name, mend="Set `label` to a column of few names, such as a domain.",
        )  # fmt: skip


def is_labelled_file(name: str) -> bool:
    """Tell by its name whether a file can hold labelled rows."""
    return Path(plain_name(name)).suffix in (".parquet", ".jsonl")


def read_rows(path: Path, name: str, config: DomainClassifierConfig) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a parquet or JSONL file (plain, .gz, .zst), a few at a time.

    Raises:
        DataError: It cannot be read, or lacks a column.
    """
    if not is_labelled_file(name):
        return
    try:
        if Path(plain_name(name)).suffix == ".parquet":
            yield from _parquet_rows(path, name, config)
            return
        with path.open("rb") as stream:
            for number, line in enumerate(iter_lines(chunks(stream, name), _LINE_BYTES)):
                if line.data.strip():
                    row = json.loads(line.data)
                    if not number:
                        _require(row if isinstance(row, dict) else {}, name, config)
                    yield row if isinstance(row, dict) else {}
    except (ValueError, OSError, pa.ArrowException) as error:
        raise DataError(
            f"not readable as labelled rows: {error}", where=name,
            mend="One JSON object a line (.jsonl), or parquet.",
        ) from error  # fmt: skip


def _parquet_rows(
    path: Path, name: str, config: DomainClassifierConfig
) -> Iterator[Mapping[str, Any]]:
    file = pq.ParquetFile(path)
    there = file.schema_arrow.names
    tops = [c if c in there else c.partition(".")[0] for c in (config.text, config.label)]
    _require(dict.fromkeys(there), name, config, tops)
    wanted = list(dict.fromkeys([*(c for c in _EXTRAS if c in there), *tops]))
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
        yield from batch.to_pylist()


def _require(
    row: Mapping[str, Any], name: str, config: DomainClassifierConfig,
    columns: Iterable[str] | None = None,
) -> None:  # fmt: skip
    tops = columns or [
        c if has(row, c) else c.partition(".")[0] for c in (config.text, config.label)
    ]
    for column in tops:
        if column not in row and not has(row, column):
            raise DataError(
                f"no column {column!r}, only {', '.join(sorted(row))}", where=name,
                mend="Set `text` and `label` to the columns of the text and of its label.",
            )  # fmt: skip
