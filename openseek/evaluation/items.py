"""Items as parquet, and the worked examples that are put before them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item

Json = dict[str, Any]
OURS = ("query", "choices", "gold")
"""Columns that tell rows of ours from rows of the hub."""


def few_shot(
    benchmark: Benchmark, pool: Sequence[tuple[str, Item]], item: Item, key: str, seed: int
) -> str:
    """Draw an item's worked examples: a pure function of the pool, the item's id and the seed.

    Args:
        benchmark: Says how many, and how they are rendered.
        pool: (id, item) pairs, ordered by id.
        item: The item; never an example for itself.
        key: Its id.
        seed: The run's seed.

    Returns:
        The examples, each followed by an empty line.

    Raises:
        DataError: There are too few examples.
    """
    others = [one for _, one in pool if one.query != item.query]
    if len(others) < benchmark.shots:
        raise DataError(
            f"{benchmark.shots} worked examples are wanted, the split "
            f"{benchmark.shots_split} has {len(others)}",
            where=f"task {benchmark.name}, item {key}",
        )
    drawn = random.Random(f"{seed}:{key}").sample(range(len(others)), benchmark.shots)
    return "".join(f"{benchmark.worked(others[i])}\n\n" for i in drawn)


def read_ours(row: Json) -> Item:
    """Read an item from a row in our columns.

    Raises:
        DataError: A value makes no sense.
    """
    try:
        meta = row.get("meta") or {}
        meta = json.loads(meta) if isinstance(meta, str) else meta
        return Item(
            row["query"], tuple(row["choices"]), int(row["gold"]), meta,
            tuple(row.get("answers") or ()), row.get("preamble") or "",
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise DataError(f"not a usable row: {error}") from error


def digest(items: Sequence[tuple[str, Item]]) -> str:
    """Digest items with all that the model sees and is judged by."""
    found = hashlib.sha256()
    for key, i in items:
        row = [key, i.query, i.choices, i.gold, i.meta, i.answers, i.preamble]
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        found.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return found.hexdigest()


def write_items(path: Path, task: str, items: Sequence[tuple[str, Item]], split: str) -> None:
    """Write items as parquet: task, id, query, choices, gold, meta, answers, preamble, split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, texts = pa.string(), pa.list_(pa.string())
    schema = pa.schema(
        [
            ("task", text), ("id", text), ("query", text), ("choices", texts),
            ("gold", pa.int32()), ("meta", text), ("answers", texts), ("preamble", text),
            ("split", text),
        ]
    )  # fmt: skip
    rows = [
        {
            "task": task, "id": key, "query": item.query, "choices": list(item.choices),
            "gold": item.gold, "answers": list(item.answers), "preamble": item.preamble,
            "meta": json.dumps(item.meta, ensure_ascii=False, sort_keys=True), "split": split,
        }
        for key, item in items
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def read_items(path: Path, limit: int = 0) -> list[tuple[str, Item]]:
    """Read (id, item) pairs that `write_items` wrote, the first `limit` of them.

    Raises:
        DataError: A column is missing.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    lacking = sorted({"id", *OURS, "meta"} - set(table.column_names))
    if lacking:
        raise DataError(f"no column {lacking[0]!r}", where=str(path), mend="Fetch the sets again.")
    rows = table.slice(0, limit or None).to_pylist()
    return [(row["id"], read_ours(row)) for row in rows]
