"""Time the data layer against its peers: `python benchmarks/data.py FOLDER [--json]`.

FOLDER holds document shards (`openseek data ingest` makes them). Each file `data_<work>.py` beside
this one has a function `measure(folder, runs)` that returns rows; see `harness.py`.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import harness

HERE = Path(__file__).resolve().parent
ON_REQUEST = {"scale"}
"""Works of half an hour and more: only with `--work`."""


def main() -> None:
    """Run the works that are asked for and print a table, or JSON."""
    works = sorted(p.stem.removeprefix("data_") for p in HERE.glob("data_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="Folder of document shards (parquet).")
    parser.add_argument("--work", action="append", choices=works, help="Only this one; repeatable.")
    parser.add_argument("--runs", type=int, default=3, help="Rounds; everybody runs once in each.")
    parser.add_argument("--json", action="store_true", help="Print a list of objects.")
    given = parser.parse_args()
    if not any(given.folder.glob("*.parquet")):
        parser.error(f"no *.parquet in {given.folder}: make some with `openseek data ingest`")
    rows: list[harness.Row] = []
    for work in given.work or [w for w in works if w not in ON_REQUEST]:
        rows += importlib.import_module(f"data_{work}").measure(given.folder, given.runs)
    if given.json:
        print(json.dumps([r.to_json() for r in rows], ensure_ascii=False))
    else:
        print(harness.table(rows))


if __name__ == "__main__":
    main()
