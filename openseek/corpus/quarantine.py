"""Rows that cannot be used: kept with their reason, counted, and limited in number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openseek.errors import DataError

SAMPLES = 5
SAMPLE_CHARS = 300
KEPT_CHARS = 2000
FEW = 10
"""So few bad rows never fail a step: a fraction of a handful says nothing."""


class Quarantine:
    """Write bad rows to a JSONL file as they come, and count them by reason.

    Args:
        path: File to write; it is made with the first bad row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.samples: dict[str, list[dict[str, str]]] = {}
        self._file: Any = None

    def add(self, reason: str, *, source: str, origin: str, text: str = "", id: str = "") -> None:
        """Set one row aside.

        Args:
            reason: Short and without values, so that it can be counted: `not JSON`.
            source: Name of the source.
            origin: Where the row is: file, row, byte.
            text: What there is of it; cut to 2,000 characters.
            id: Its document id, if it has one.
        """
        self.counts[reason] = self.counts.get(reason, 0) + 1
        clean = text[:KEPT_CHARS].encode("utf-8", "replace").decode("utf-8")
        row = {"reason": reason, "source": source, "origin": origin, "id": id, "text": clean}
        samples = self.samples.setdefault(reason, [])
        if len(samples) < SAMPLES:
            samples.append(
                {"id": id, "source": source, "origin": origin, "text": clean[:SAMPLE_CHARS]}
            )
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        self._file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")

    @property
    def total(self) -> int:
        """Rows set aside."""
        return sum(self.counts.values())

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_bad_fraction(
    bad: Mapping[str, int],
    rows: int,
    limit: float,
    *,
    where: str,
    samples: Mapping[str, Any] | None = None,
) -> None:
    """Refuse to go on when too many rows are bad.

    Args:
        bad: Rows set aside, by reason.
        rows: All rows, good and bad.
        limit: `runtime.max_bad_fraction`.
        where: Step and source, for the message.
        samples: Reason -> some of the rows, for the message.

    Raises:
        DataError: More than `limit` of the rows, and more than ten, are bad.
    """
    n = sum(bad.values())
    if n <= FEW or n <= limit * rows:
        return
    reasons = ", ".join(f"{reason}: {k}" for reason, k in sorted(bad.items()))
    first = next(iter((samples or {}).get(max(sorted(bad), key=lambda r: bad[r]), [])), None)
    example = (
        f"; for example {first.get('origin')}: {first.get('text', '')[:120]!r}" if first else ""
    )
    raise DataError(
        f"{n} of {rows} rows are bad ({reasons}){example}",
        where=where,
        mend=f"Mend the data or its settings, or raise runtime.max_bad_fraction (now {limit}).",
    )
