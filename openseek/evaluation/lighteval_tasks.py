"""Run one task through lighteval's own pipeline: its docs, metrics and standard errors.

Only imported in the evaluation worker, after `lighteval_compat.import_lighteval()`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lighteval.logging.evaluation_tracker import EvaluationTracker
from lighteval.metrics.dynamic_metrics import LogLikelihoodAccMetric
from lighteval.metrics.normalizations import LogProbCharNorm
from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

from openseek.evaluation.catalog import BENCHMARKS, Item
from openseek.evaluation.lighteval_compat import tasks_module
from openseek.evaluation.lighteval_model import OpenSeekLightevalModel

Json = dict[str, Any]
SPLIT = "items"


@dataclass(frozen=True)
class TaskResult:
    """What a task came to.

    Attributes:
        values: metric -> (value, standard error) as lighteval reports them.
        rows: One a item: id, gold, picked, correct, choice log-likelihoods and their lengths.
    """

    values: dict[str, tuple[float, float]]
    rows: list[Json]


class Prompter:
    """A task's prompt function, which also carries the task's rows for the data loader."""

    def __init__(self, task: str, items: Sequence[tuple[str, Item]]) -> None:
        self.task = task
        self.__name__ = f"prompt_{task}"
        self.data = {SPLIT: [{"key": key, "item": item} for key, item in items]}

    def __deepcopy__(self, memo: Any) -> Prompter:
        return self  # lighteval copies configs; the rows need no copy

    def __call__(self, row: Json, task_name: str) -> Doc:
        """Turn a row into what lighteval scores."""
        item: Item = row["item"]
        specific: Json = {"key": row["key"]}
        if self.task in BENCHMARKS:
            query, choices = BENCHMARKS[self.task].prompt(item)
        else:
            query, choices = item.query, list(item.choices)
            specific["tokens"] = _spans(item)
        return Doc(query=query, choices=choices, gold_index=item.gold, specific=specific)


def _spans(item: Item) -> tuple[list[int], list[list[int]]]:
    """Read back the token spans of a cloze item."""
    context = [int(t) for t in item.meta["context"].split()]
    choices = [[int(t) for t in c.split()] for c in item.meta["continuations"].split("|")]
    return context, choices


def run_task(
    task: str, items: Sequence[tuple[str, Item]], model: OpenSeekLightevalModel
) -> TaskResult:
    """Score a task's items with acc and acc_norm (per character, the first space left out)."""
    config = LightevalTaskConfig(
        name=task,
        prompt_function=Prompter(task, items),
        hf_repo=task,
        hf_subset="default",
        hf_avail_splits=[SPLIT],
        evaluation_splits=[SPLIT],
        metrics=[
            LogLikelihoodAccMetric(),
            LogLikelihoodAccMetric(LogProbCharNorm(ignore_first_space=True)),
        ],
    )
    with tempfile.TemporaryDirectory(prefix="lighteval-") as folder:
        tracker = EvaluationTracker(output_dir=folder, save_details=False)
        pipeline = Pipeline(
            tasks=f"{task}|0",
            pipeline_parameters=PipelineParameters(
                launcher_type=ParallelismManager.NONE,
                custom_tasks_directory=tasks_module([config]),
            ),
            evaluation_tracker=tracker,
            model=model,
        )
        pipeline.evaluate()
        found = tracker.metrics_logger.metric_aggregated[f"{task}|0"]
    values = {
        name: (float(found[name]), float(found.get(f"{name}_stderr", math.nan)))
        for name in ("acc", "acc_norm")
    }
    details = tracker.details_logger.details[f"{task}|0"]
    rows = {d.doc.specific["key"]: _row(d) for d in details}
    return TaskResult(values, [rows[key] for key, _ in items])


def _row(detail: Any) -> Json:
    doc, response = detail.doc, detail.model_response
    chars = [len(c) - c.startswith(" ") for c in doc.choices]
    return {
        "id": doc.specific["key"],
        "gold": int(doc.gold_index),
        "logprobs": [float(x) for x in response.logprobs],
        "tokens": [len(t) for t in response.output_tokens],
        "chars": chars,
        "bytes": [len(c.encode("utf-8")) for c in doc.choices],
        "acc": int(detail.metric["acc"]),
        "acc_norm": int(detail.metric["acc_norm"]),
    }
