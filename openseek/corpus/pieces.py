"""Cut what a part holds into shards, each published as soon as it is full.

A piece ends before the row that would make it larger than `shard_bytes`, so where it ends depends
on the rows alone. After a kill, the rows of published pieces are read again but not written: a
large compressed file or web archive costs what was not published yet. The last piece bears the
part's own name: with it the part is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from openseek.artifacts.files import ShardRecord
from openseek.config.sources import SourceConfig, SourceSnapshot
from openseek.corpus.parts import Part
from openseek.corpus.quarantine import SAMPLE_CHARS, SAMPLES, Quarantine
from openseek.corpus.readers import Bad, Row
from openseek.corpus.shards import DocumentWriter, make_document

Json = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """What of a part is published.

    Attributes:
        pieces: Statistics of its pieces from the first on, without a gap.
        done: Nothing of it is missing.
    """

    pieces: tuple[Json, ...] = ()
    done: bool = False

    @property
    def rows(self) -> int:
        """Rows that the published pieces used up."""
        return sum(p["documents_in"] for p in self.pieces)

    @property
    def bytes_out(self) -> int:
        """Bytes of text that they hold."""
        return sum(p["bytes_out"] for p in self.pieces)


def progress(part: Part, records: Mapping[str, ShardRecord]) -> Progress:
    """Find out what of a part is published already."""
    pieces: list[Json] = []
    while (record := records.get(piece_id(part, len(pieces)))) is not None:
        pieces.append(record.stats)
    last = records.get(part.shard)
    if last is not None and last.stats["piece"] == len(pieces):
        return Progress((*pieces, last.stats), True)
    return Progress(tuple(pieces))


def piece_id(part: Part, number: int) -> str:
    """Name the record of a piece that is not the part's last one."""
    return f"{part.shard}.{number:03d}"


class Piece:
    """One shard in the making.

    Args:
        part: What it is a piece of.
        number: Its number in the part.
        snapshot: The source.
        folder: Local folder to write to.
    """

    def __init__(self, part: Part, number: int, snapshot: SourceSnapshot, folder: Path) -> None:
        self.snapshot, self.source, self.number = snapshot, snapshot.source, number
        suffix = f"-{number:03d}" if number else ""
        self.name = f"{part.shard}{suffix}"
        self.folder = folder
        self.writer = DocumentWriter(folder / f"{self.name}.parquet")
        self.quarantine = Quarantine(folder / f"{self.name}.jsonl")
        self.stats: Json = {
            "piece": number,
            "documents_in": 0,
            "documents_out": 0,
            "bytes_in": 0,
            "bytes_out": 0,
            "dropped": {},
            "samples": {},
        }

    def offer(self, item: Row | Bad, limit: float) -> bool:
        """Take a row, unless the documents would grow beyond a limit by it.

        Args:
            item: The row.
            limit: Bytes of text; the first document is taken whatever its size.
        """
        origin = located(self.snapshot.label, item.locator)
        if isinstance(item, Bad):
            self._count()
            self._set_aside(item.reason, origin, item.text)
            return True
        try:
            size = len(item.text.encode("utf-8"))
        except UnicodeEncodeError:
            self._count()
            self._set_aside("lone surrogate", origin, item.text)
            return True
        if size > self.source.max_document:
            self._count(size)
            self._set_aside(f"text longer than {self.source.max_document} bytes", origin, item.text)
        elif (chars := len(item.text.strip())) < max(1, self.source.text.min_chars):
            self._count(size)
            self._drop("too short" if chars else "empty", origin, item.text)
        elif self.writer.rows and self.writer.text_bytes + size > limit:
            return False
        else:
            self._count(size)
            self._keep(item, origin, size)
        return True

    def _count(self, size: int = 0) -> None:
        self.stats["documents_in"] += 1
        self.stats["bytes_in"] += size

    def _set_aside(self, reason: str, origin: str, text: str) -> None:
        self.quarantine.add(reason, source=self.source.name, origin=origin, text=text)

    def _drop(self, reason: str, origin: str, text: str) -> None:
        self.stats["dropped"][reason] = self.stats["dropped"].get(reason, 0) + 1
        samples = self.stats["samples"].setdefault(reason, [])
        if len(samples) < SAMPLES:
            text = text[:SAMPLE_CHARS]
            row = {"id": "", "source": self.source.name, "origin": origin, "text": text}
            samples.append(row)

    def _keep(self, row: Row, origin: str, size: int) -> None:
        self.writer.add(_document(row, self.source, origin))
        self.stats["documents_out"] += 1
        self.stats["bytes_out"] += size

    def close(self) -> dict[str, Path]:
        """Finish the files; returns logical name -> local path."""
        self.writer.close()
        self.quarantine.close()
        self.stats["quarantined"] = dict(sorted(self.quarantine.counts.items()))
        self.stats["samples"].update(self.quarantine.samples)
        files = {f"{self.name}.parquet": self.writer.path}
        if self.quarantine.path.exists():
            files[f"quarantine/{self.name}.jsonl"] = self.quarantine.path
        return files


def write_pieces(
    items: Iterator[Row | Bad],
    part: Part,
    snapshot: SourceSnapshot,
    folder: Path,
    shard_bytes: int,
    before: Progress,
) -> Iterator[tuple[str, dict[str, Path], Json]]:
    """Cut the rows of a part into pieces, from the first that is not published.

    Args:
        items: All rows of the part.
        part: The part.
        snapshot: Its source.
        folder: Local folder to write to.
        shard_bytes: Largest piece, in bytes of text (a single document may be larger).
        before: What is published.

    Yields:
        Record id, logical name -> local path, statistics of each piece.
    """
    number, taken = len(before.pieces), before.bytes_out
    share = math.inf if part.limit is None else part.limit
    piece = Piece(part, number, snapshot, folder)
    for item in islice(items, before.rows, None):
        if piece.offer(item, min(shard_bytes, share - taken)):
            continue
        taken += piece.stats["bytes_out"]
        if taken + len(item.text.encode("utf-8")) > share:
            break
        yield piece_id(part, number), piece.close(), piece.stats
        number += 1
        piece = Piece(part, number, snapshot, folder)
        piece.offer(item, shard_bytes)
    yield part.shard, piece.close(), piece.stats


def located(label: str, locator: str) -> str:
    """Put a source's label before a place in it."""
    return label + locator if not label or label.endswith(":") else f"{label}/{locator}"


def _document(row: Row, source: SourceConfig, origin: str) -> Json:
    return make_document(
        row.text,
        source=source.name,
        category=source.category,
        lang=source.lang,
        license=source.license,
        origin=row.origin or origin,
        locator=row.locator,
        tier=source.tier,
        meta=row.meta,
    )
