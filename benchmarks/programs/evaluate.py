"""Score the same items: `evaluate.py WHO MODEL ITEMS BATCH OUT`, WHO of the functions below.

The last line is a JSON object: per task the items' options' log-likelihoods in the items' order.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Found = dict[str, list[list[float]]]
MAX_LENGTH = 2048


def openseek(model: Path, items: Path, batch: int, out: Path) -> Found:
    """Ours, as `openseek eval` runs it, with one scoring process."""
    import pyarrow.parquet as pq

    from openseek.config.evaluation import EvaluationConfig
    from openseek.evaluation import evaluate_model
    from openseek.evaluation.benchmarks import write_items
    from openseek.evaluation.catalog import Item

    sets = out / "sets"
    sets.mkdir(parents=True)
    tasks = json.loads(items.read_text())
    for task, rows in tasks.items():
        made = [
            (r["id"], Item(r["query"], tuple(r["choices"]), r["gold"], r["meta"])) for r in rows
        ]
        write_items(sets / f"{task}.parquet", task, made, "")
    config = EvaluationConfig(
        suite="none", max_samples=0, processes=1, device="cpu",
        cache=os.environ.get("EVALUATION_CACHE", "none"),
        context_length=MAX_LENGTH, **({"batch_tokens": batch} if batch else {}),
    )  # fmt: skip
    evaluate_model(model, out / "run", benchmarks=sets, config=config)
    return {
        task: [r["logprobs"] for r in pq.read_table(out / f"run/items/{task}.parquet").to_pylist()]
        for task in tasks
    }


def lighteval(model: Path, items: Path, batch: int, out: Path) -> Found:
    """Lighteval's own pipeline and transformers backend; its registry cannot load offline."""
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
    from lighteval.metrics.normalizations import LogProbCharNorm
    from lighteval.models.transformers.transformers_model import TransformersModelConfig
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
    from lighteval.tasks.lighteval_task import LightevalTask, LightevalTaskConfig
    from lighteval.tasks.registry import Registry
    from lighteval.tasks.requests import Doc

    tasks = json.loads(items.read_text())

    def load(custom_tasks: Any = None, load_multilingual: bool = False) -> Any:
        return Registry._extract_configs(Registry.create_custom_tasks_module(custom_tasks))

    Registry.load_all_task_configs = staticmethod(load)
    LightevalTask.download_dataset_worker = staticmethod(
        lambda task: {"items": tasks[task.config.name]}
    )

    def prompt(row: Json, task_name: str) -> Any:
        return Doc(query=row["context"], choices=row["continuations"], gold_index=row["gold"],
                   specific={"key": row["id"]})  # fmt: skip

    metrics = [
        LogLikelihoodAccMetric(),
        LogLikelihoodAccMetric(LogProbCharNorm(ignore_first_space=True)),
    ]
    module = types.ModuleType("bench_tasks")
    module.TASKS_TABLE = [  # type: ignore[attr-defined]
        LightevalTaskConfig(
            name=task, prompt_function=prompt, hf_repo=task, hf_subset="default",
            hf_avail_splits=["items"], evaluation_splits=["items"], metrics=metrics,
        )
        for task in tasks
    ]  # fmt: skip
    # It writes its cache into the model's folder, and would answer from it the next time.
    copy = out / "model"
    copy.mkdir(parents=True)
    for file in model.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    tracker = EvaluationTracker(output_dir=str(out), save_details=False)
    Pipeline(
        tasks=",".join(f"{task}|0" for task in tasks),
        pipeline_parameters=PipelineParameters(
            launcher_type=ParallelismManager.NONE, custom_tasks_directory=module
        ),
        evaluation_tracker=tracker,
        model_config=TransformersModelConfig(
            model_name=str(copy), batch_size=batch, dtype="float32", device="cpu",
            max_length=MAX_LENGTH, override_chat_template=False,
        ),
    ).evaluate()  # fmt: skip
    found = {}
    for task, rows in tasks.items():
        details = tracker.details_logger.details[f"{task}|0"]
        by_id = {d.doc.specific["key"]: list(d.model_response.logprobs) for d in details}
        found[task] = [by_id[r["id"]] for r in rows]
    return found


def lm_eval(model: Path, items: Path, batch: int, out: Path) -> Found:
    """lm-eval's transformers model on the same contexts and continuations."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(
        pretrained=str(model), dtype="float32", device="cpu", batch_size=batch,
        max_length=MAX_LENGTH,
    )  # fmt: skip
    tasks = json.loads(items.read_text())
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=(row["context"], c), idx=0)
        for rows in tasks.values()
        for row in rows
        for c in row["continuations"]
    ]
    scored = iter(lm.loglikelihood(asked, disable_tqdm=True))
    return {
        task: [[float(next(scored)[0]) for _ in row["continuations"]] for row in rows]
        for task, rows in tasks.items()
    }


WHO: dict[str, Callable[[Path, Path, int, Path], Found]] = {
    "openseek": openseek,
    "lighteval": lighteval,
    "lm-eval": lm_eval,
}


def main() -> None:
    """Score and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    who, model, items, batch, out = sys.argv[1:6]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    if who != "openseek":  # whose processes see to that themselves
        import torch

        torch.set_num_threads(1)
    found = WHO[who](Path(model), Path(items), int(batch), Path(out))
    answers.write(json.dumps({"logprobs": found}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
