"""What subtasks cost: items of MMLU, C-Eval and CMMLU by subject, and the same under one subject.

Real questions of MMLU under the names and formats of the 57 + 52 + 67 subjects of the three sets;
ours alone, CPU seconds of whole evaluations. A prompt begins with its subject, so that items of one
subject share more of their beginnings, which are computed once. What subtasks cost is therefore
taken from a second evaluation each, in which the model has nothing left to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from eval_speed import contender, model_folder, real_items
from harness import Json, Row, run

from openseek.evaluation.tasks.chinese import subjects

N_SUBJECTS = 57 + 52 + 67


def measure(given: argparse.Namespace) -> list[Row]:
    """Evaluate both twice."""
    model = model_folder(given.models)
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        n = items_files(given.downloads, work)
        for name in ("subtasks", "one subject"):
            os.environ["EVALUATION_CACHE"] = str(work / f"cache of {name}")
            ours = contender("openseek", model, work / f"{name}.json", 0)
            seconds[name] = [run(ours, work / "log").cpu_s for _ in range(1 + given.runs)]
            print(f"{name}: CPU-s {seconds[name]}", file=sys.stderr, flush=True)
    del os.environ["EVALUATION_CACHE"]
    again = {name: min(times[1:]) for name, times in seconds.items()}
    added = (again["subtasks"] - again["one subject"]) / seconds["one subject"][0]
    rates = {name: n / times[0] for name, times in seconds.items()}
    return [
        Row(
            f"{N_SUBJECTS} subtasks", "the same in one subject",
            rates["subtasks"], rates["one subject"],
            "items/CPU-s", rates["subtasks"] / rates["one subject"],
            {"added_time": round(added, 4), "items": n}, seconds,
        )
    ]  # fmt: skip


def items_files(downloads: Path, work: Path) -> int:
    """Write the same questions twice, by subject and under one subject a set; returns their number.

    The one subject has a name of middling length, so that the prompts are as long.
    """
    kept = [item for _, item in real_items(downloads, "mmlu", 2 * N_SUBJECTS)]
    names = {
        "mmlu": sorted({item.meta["subject"] for item in kept}),
        "ceval": sorted(subjects("ceval")),
        "cmmlu": sorted(subjects("cmmlu")),
    }
    places = [(task, name) for task, found in names.items() for name in found]
    middle = {task: sorted(found, key=len)[len(found) // 2] for task, found in names.items()}
    apart: dict[str, list[Json]] = {}
    together: dict[str, list[Json]] = {}
    for i, item in enumerate(kept):
        task, name = places[i % len(places)]
        made = {
            "id": f"{i}", "query": item.query, "choices": list(item.choices), "gold": item.gold,
        }  # fmt: skip
        apart.setdefault(task, []).append({**made, "meta": {"subject": name}})
        together.setdefault(task, []).append({**made, "meta": {"subject": middle[task]}})
    (work / "subtasks.json").write_text(json.dumps(apart))
    (work / "one subject.json").write_text(json.dumps(together))
    return len(kept)
