"""Cleaning: Traditional to Simplified, language, words and personal data; and the whole flow.

There is no peer that does either in one pass, so these rows are ours alone, in MB per CPU-second
of the whole process (imports and compiled code from the cache included).

    python benchmarks/data_cleaning.py masks|flow FOLDER [OUT]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

HERE = Path(__file__).resolve()
Json = dict[str, Any]


def measure(folder: Path, runs: int) -> list[Any]:
    """Time the two works."""
    import harness
    import pyarrow.parquet as pq

    sizes = [
        len(text.encode())
        for path in sorted(folder.glob("*.parquet"))
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist()
    ]
    rows = []
    for work, command in (
        ("simplify, language, words, PII", ("masks", str(folder))),
        ("whole cleaning flow", ("flow", str(folder), "{out}")),
    ):
        mine = harness.ours(HERE, *command)
        rows += harness.compare(
            work, mine, [], n_bytes=sum(sizes), n_documents=len(sizes), runs=runs
        )
    return rows


def masks(folder: Path) -> Json:
    """Simplify, identify, look for words, mask: without rules, and writing nothing."""
    from openseek.cleaning import Cleaner
    from openseek.config.cleaning import CleaningConfig
    from openseek.corpus.shards import iter_batches

    normalise = dict.fromkeys(("nfc", "control", "line_ends", "mojibake"), False)
    config = CleaningConfig(preset="none", normalise=normalise, lines={"categories": []})
    cleaner = Cleaner(config)
    kept = changed = 0
    for path in sorted(folder.glob("*.parquet")):
        for batch in iter_batches(path, ["text", "lang", "category"]):
            columns = [batch[name].to_pylist() for name in ("text", "lang", "category")]
            results = cleaner.clean(*columns)
            kept += sum(not r.reason for r in results)
            changed += sum(bool(r.changes) for r in results)
    return {"kept": kept, "changed": changed}


def flow(folder: Path, out: Path) -> Json:
    """Run the cleaning step over all shards, one after another, with every block."""
    from openseek.artifacts.folder import FolderFiles, FolderOutput
    from openseek.cleaning.step import clean_shard
    from openseek.cleaning.words import load_words
    from openseek.config.cleaning import CleaningConfig

    config = CleaningConfig()
    words = load_words(config.words)
    files, written = FolderFiles(folder), FolderOutput(out)
    for path in sorted(folder.glob("*.parquet")):
        clean_shard(path.name, files, written, config, words)
    return {"shards": len(written.shards())}


if __name__ == "__main__":
    works = {"masks": masks, "flow": flow}
    print(json.dumps(works[sys.argv[1]](*map(Path, sys.argv[2:]))))
