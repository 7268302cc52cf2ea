"""What 190 subtasks cost: items of MMLU, C-Eval and CMMLU by subject, and the same in one task.

Real questions of MMLU under the names and formats of 57 + 52 + 67 and more subjects of the three
sets (190 groups in all); ours alone, CPU seconds of whole evaluations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from eval_speed import contender, model_folder, real_items
from harness import Json, Row, run

SUBJECTS = {"mmlu": 57, "ceval": 52, "cmmlu": 81}


def measure(given: argparse.Namespace) -> list[Row]:
    """Run both in turns."""
    model = model_folder(given.models)
    seconds: dict[str, list[float]] = {"subtasks": [], "one task": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        n = items_files(given.downloads, work)
        for i in range(given.runs):
            for name in seconds:
                usage = run(contender("openseek", model, work / f"{name}.json", 0), work / "log")
                seconds[name].append(usage.cpu_s)
                text = f"subtasks: run {i + 1} of {given.runs}, {name}: {usage.cpu_s:.1f} CPU-s"
                print(text, file=sys.stderr, flush=True)
    rates = {name: n / statistics.median(times) for name, times in seconds.items()}
    more = rates["one task"] / rates["subtasks"] - 1
    return [
        Row(
            "190 subtasks", "the same in one task", rates["subtasks"], rates["one task"],
            "items/CPU-s", rates["subtasks"] / rates["one task"],
            {"added_time": round(more, 4), "items": n}, seconds,
        )
    ]  # fmt: skip


def items_files(downloads: Path, work: Path) -> int:
    """Write the same questions twice; returns their number."""
    subjects = [(task, k) for task, count in SUBJECTS.items() for k in range(count)]
    kept = real_items(downloads, "mmlu", 2 * len(subjects))
    tasks: dict[str, list[Json]] = {}
    whole: list[Json] = []
    for i, (_, item) in enumerate(kept):
        task, k = subjects[i % len(subjects)]
        made = {
            "id": f"{i}", "query": item.query, "choices": list(item.choices), "gold": item.gold,
            "meta": {"subject": item.meta["subject"] if task == "mmlu" else f"subject {k}"},
        }  # fmt: skip
        tasks.setdefault(task, []).append(made)
        whole.append({**made, "meta": {"subject": item.meta["subject"]}})
    (work / "subtasks.json").write_text(json.dumps(tasks))
    (work / "one task.json").write_text(json.dumps({"mmlu": whole}))
    return len(kept)
