"""Quality: the linear classifier against fastText, decontamination against datatrove.

The classifiers learn to name the source of four fifths of the folder's documents; what is timed is
scoring all of them, and the accuracy is that of the last fifth. For decontamination 12 sentences of
English documents, 15 to 40 words long, are the evaluation items; the folder holds each at least
once, and both programs must find those documents.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import harness
import pyarrow.compute as pc
import pyarrow.parquet as pq

PROGRAM = Path(__file__).parent / "programs" / "quality.py"
ITEMS = 12
_SENTENCE = re.compile(r"[A-Z][a-z]+(?: [a-z]+,?){14,38} [a-z]+\.")


def measure(folder: Path, runs: int = 3) -> list[harness.Row]:
    """Compare on the folder's documents."""
    tables = [pq.read_table(p, columns=["id", "text"]) for p in sorted(folder.glob("*.parquet"))]
    n_bytes = sum(pc.sum(pc.binary_length(t["text"])).as_py() or 0 for t in tables)
    size = {"n_bytes": n_bytes, "n_documents": sum(t.num_rows for t in tables), "runs": runs}
    with tempfile.TemporaryDirectory() as work:
        return _classifiers(folder, Path(work), size) + _scans(folder, Path(work), tables, size)


def _classifiers(folder: Path, work: Path, size: dict[str, int]) -> list[harness.Row]:
    place = str(work / "ours"), str(work / "fasttext")
    made = harness.ours(PROGRAM, "train-ours", str(folder), place[0])
    harness.run(made, work / "log")
    trained = harness.peer(
        "fastText", PROGRAM, "train-fasttext", str(folder), place[1], package="fasttext"
    )
    if not trained.missing:
        harness.run(trained, work / "log")
    mine = harness.ours(PROGRAM, "classify-ours", str(folder), place[0])
    peer = harness.peer(
        "fastText", PROGRAM, "classify-fasttext", str(folder), place[1], package="fasttext"
    )
    return harness.compare(
        "quality: classifier", mine, [peer], **size,
        agree=lambda a, b: {"ours": a, "theirs": b},
    )  # fmt: skip


def _scans(folder: Path, work: Path, tables: list[Any], size: dict[str, int]) -> list[harness.Row]:
    items = work / "items"
    items.mkdir()
    lines = [json.dumps({"id": i, "text": text}) for i, text in sentences(tables)]
    (items / "bench.jsonl").write_text("\n".join(lines))
    given = str(folder), str(items)
    peer = harness.peer("datatrove", PROGRAM, "contaminated-datatrove", *given, package="datatrove")
    return harness.compare(
        "quality: decontamination", harness.ours(PROGRAM, "contaminated-ours", *given), [peer],
        **size, agree=agreement,
    )  # fmt: skip


def sentences(tables: list[Any]) -> list[tuple[str, str]]:
    """Pick one sentence from each of some documents spread over the folder."""
    found = []
    for table in tables:
        for i, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
            if len(text) < 20_000 and (m := _SENTENCE.search(text)):
                found.append((i, m[0]))
    return found[:: max(1, len(found) // ITEMS)][:ITEMS]


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Count the documents that either side finds."""
    a, b = set(ours["found"]), set(theirs["found"])
    return {"both": len(a & b), "only_ours": len(a - b), "only_theirs": len(b - a)}
