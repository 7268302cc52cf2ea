"""What decontamination dropped, read from the listing in a step's artifact."""

from __future__ import annotations

import heapq
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

LISTING = "contamination.jsonl"
ROWS = 50  # documents that are shown, for a person to read
_QUOTED_CHARS = 600
_SPANS = 5


def read_listing(path: Path) -> dict[str, Any]:
    """Sum a listing up, and draw documents from it by their ids.

    The matches of one document follow one another; the first one is shown. A line that is no
    JSON object is passed over.

    Returns:
        documents; matches; by_task: documents with a match of each task; rows: up to 50 documents
        (id, source, task, item, share, text, characters, and `also`, the number of other matches).
    """
    drawn: list[tuple[int, int, dict[str, Any]]] = []
    documents = matches = 0
    by_task: Counter[str] = Counter()
    current: dict[str, Any] | None = None
    tasks: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            match = _object(line)
            if match is None:
                continue
            matches += 1
            if current is None or match.get("id") != current.get("id"):
                documents += 1
                current, tasks = _shown(match), set()
                key = -zlib.crc32(str(match.get("id")).encode("utf-8", "replace"))
                heapq.heappush(drawn, (key, -documents, current))
                if len(drawn) > ROWS:
                    heapq.heappop(drawn)
            else:
                current["also"] += 1
            if (task := str(match.get("task"))) not in tasks:
                tasks.add(task)
                by_task[task] += 1
    rows = [row for _, _, row in sorted(drawn, key=lambda d: -d[1])]
    return {
        "documents": documents, "matches": matches, "by_task": dict(sorted(by_task.items())),
        "rows": rows,
    }  # fmt: skip


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # the last line of a file that was cut off
        return None
    return found if isinstance(found, dict) else None


def _shown(match: dict[str, Any]) -> dict[str, Any]:
    spans = match.get("spans")
    places = [
        f"{s[0]}-{s[1]}" for s in (spans if isinstance(spans, list) else [])
        if isinstance(s, list) and len(s) == 2
    ]  # fmt: skip
    told = ", ".join(places[:_SPANS]) + (
        f" and {len(places) - _SPANS} more" if len(places) > _SPANS else ""
    )
    kept = {k: match.get(k) for k in ("id", "source", "task", "item", "share")}
    text = str(match.get("text") or "")[:_QUOTED_CHARS]
    return kept | {"text": text, "characters": told, "also": 0}
