"""Scores on clean and on flagged items: what of a score may be memory.

An item is flagged when decontamination found it in a document of the corpus. Such documents are
dropped before training, so a difference between the two columns says how easy the known items are,
unless the model was trained on documents that were not searched (a checkpoint of somebody else's).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from openseek.errors import DataError
from openseek.evaluation.results import correctness
from openseek.evaluation.summary import mean_and_error

Json = dict[str, Any]
LISTING = "contamination.jsonl"

Flagged = Mapping[str, Collection[str]]
"""Task -> ids of the items found in the corpus; a task that was looked for has an entry."""


def read_flagged(listing: Path, tasks: Collection[str] = ()) -> dict[str, set[str]]:
    """Read the listing that decontamination wrote, a match a line.

    Args:
        listing: contamination.jsonl, or a folder that holds one.
        tasks: Tasks that were looked for; those without a match get an empty set.

    Raises:
        DataError: There is no such file, or a line is not a match.
    """
    path = listing / LISTING if listing.is_dir() else listing
    if not path.is_file():
        raise DataError(
            f"no {LISTING}", where=str(listing),
            mend="Name the output of `openseek data decontaminate` or of the step decontaminate.",
        )  # fmt: skip
    found: dict[str, set[str]] = {task: set() for task in tasks}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                match = json.loads(line)
                found.setdefault(str(match["task"]), set()).add(str(match["item"]))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"not a match: {error}", where=f"{path} line {number}",
                    mend="Each line has task and item, as decontamination writes them.",
                ) from error  # fmt: skip
    return found


def split_score(rows: Sequence[Json], metric: str, flagged: Collection[str]) -> Json:
    """Score a task's clean and flagged items apart.

    Items that repeat another one bear its id with a number; they are flagged with it.

    Returns:
        clean and flagged: {value, stderr, n}, None where there are no such items.
    """
    sides: dict[str, list[float]] = {"clean": [], "flagged": []}
    for row in rows:
        hit = row["id"] in flagged or str(row["id"]).rpartition("-")[0] in flagged
        sides["flagged" if hit else "clean"].append(correctness(row, metric))
    return {side: _summary(values) for side, values in sides.items()}


def _summary(values: Sequence[float]) -> Json | None:
    if not values:
        return None
    value, stderr = mean_and_error(values)
    return {"value": value, "stderr": stderr, "n": len(values)}
