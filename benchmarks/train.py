"""Time training against its peers: `python benchmarks/train.py [--work NAME] [--json]`.

Each file `train_<work>.py` beside this one has a function `measure(runs)` that returns rows; see
`harness.py`. Everything runs on one thread, in processes of its own, in turns.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import harness

HERE = Path(__file__).resolve().parent
ON_REQUEST = {"compiled", "small_v1_step", "balance", "checkpoint"}
"""Works of minutes or of all the memory: only with `--work`."""


def main() -> None:
    """Run the works that are asked for and print a table, or JSON."""
    works = sorted(p.stem.removeprefix("train_") for p in HERE.glob("train_*.py"))
    names = [work.replace("_", "-") for work in works]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", action="append", choices=names, help="Only this one; repeatable.")
    parser.add_argument("--runs", type=int, default=3, help="Rounds; everybody runs once in each.")
    parser.add_argument("--json", action="store_true", help="Print a list of objects.")
    given = parser.parse_args()
    rows: list[harness.Row] = []
    for work in given.work or [w for w in names if w.replace("-", "_") not in ON_REQUEST]:
        module = importlib.import_module(f"train_{work.replace('-', '_')}")
        rows += module.measure(given.runs)
    if given.json:
        print(json.dumps([r.to_json() for r in rows], ensure_ascii=False))
        return
    for row in rows:
        theirs = "-" if row.theirs is None else f"{row.theirs:.2f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
        print(
            f"{row.work:16} {row.peer:26} ours {row.ours:.2f}  theirs {theirs} {row.unit}  {ratio}"
        )
        print(f"{'':16} {json.dumps(row.agreement, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
