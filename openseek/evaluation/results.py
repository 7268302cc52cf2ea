"""A finished evaluation: its scores and its items, from a folder or from an artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from openseek.artifacts.files import FileSet, names
from openseek.artifacts.folder import FolderFiles
from openseek.errors import DataError

Json = dict[str, Any]
SCORES = "scores.json"


@dataclass
class Evaluation:
    """What `openseek eval` or the step `evaluate` left.

    Attributes:
        name: The model, as people shall read it.
        files: scores.json, items/{task}.parquet, documents/{category}.parquet.
        about: What else is known of the model (stage, tokens, digest).
    """

    name: str
    files: FileSet
    about: Json = field(default_factory=dict)

    @cached_property
    def metrics(self) -> Json:
        """The content of scores.json."""
        loaded: Json = json.loads(self.files.local(SCORES).read_text(encoding="utf-8"))
        return loaded

    @cached_property
    def scores(self) -> dict[str, Json]:
        """Task -> row of the score table."""
        return {s["task"]: s for s in self.metrics.get("scores", [])}

    @cached_property
    def item_tasks(self) -> list[str]:
        """The tasks whose items are there, sorted."""
        found = names(self.files, "items/*.parquet")
        return [n.removeprefix("items/").removesuffix(".parquet") for n in found]

    def items(self, task: str, columns: Sequence[str] = ()) -> list[Json]:
        """Read a task's items in their order, or those of their columns that there are."""
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.files.local(f"items/{task}.parquet"))
        known = file.schema_arrow.names
        wanted = [c for c in columns if c in known] if columns else known
        rows: list[Json] = file.read(columns=wanted).to_pylist()
        return rows


def load_evaluation(folder: Path | str, name: str = "") -> Evaluation:
    """Open the folder of an evaluation.

    Args:
        folder: What `openseek eval --out` wrote.
        name: Name of the model; empty: the folder's.

    Raises:
        DataError: There is no scores.json.
    """
    path = Path(folder)
    if not (path / SCORES).is_file():
        raise DataError(
            f"no {SCORES}", where=str(folder), mend="Name a folder that `openseek eval` wrote."
        )
    return Evaluation(name or path.resolve().name, FolderFiles(path))


def correctness(row: Json, metric: str) -> float:
    """Return an item's score under its task's metric.

    Raises:
        DataError: The item has no such column.
    """
    value = row.get(metric, row.get("correct"))
    if value is None:
        raise DataError(f"no column {metric!r}", where=f"item {row.get('id')}")
    return float(value)
