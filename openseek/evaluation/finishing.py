"""From results of samples to scores: lighteval's metrics for options, the task's own for answers.

Only imported in the finishing process.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from openseek.config.evaluation import EvaluationConfig
from openseek.evaluation.catalog import BENCHMARKS, Item
from openseek.evaluation.samples import Sample, task_sample
from openseek.evaluation.summary import likelihood, picked, score_row

Json = dict[str, Any]


class Finisher:
    """Writes the item file of a task, and its statistics."""

    def __init__(self, job: Json) -> None:
        from openseek.evaluation.lighteval_compat import import_lighteval

        self.config = EvaluationConfig.model_validate(job["config"])
        self.complete = set(job["complete"])
        self.out = Path(job["out"])
        import_lighteval()

    def run(self, unit: Json) -> Json:
        """Finish a task: {"unit": task, "path": its items and results} -> files and statistics."""
        task = unit["unit"]
        given = json.loads(Path(unit["path"]).read_text(encoding="utf-8"))
        items = [(key, item_from_json(raw)) for key, raw in given["items"]]
        samples = [task_sample(task, item) for _, item in items]
        results = [given["results"][s.key] for s in samples]
        if samples[0].kind == "generate":
            rows, stats = self._judged(task, items, results)
        else:
            rows, stats = self._options(task, items, samples, results)
        path = self.out / f"{task}-{os.getpid()}.parquet"
        _write_rows(path, _with_texts(task, rows, items, samples))
        return {"files": {f"items/{task}.parquet": str(path)}, "stats": stats}

    def _options(
        self, task: str, items: Any, samples: list[Sample], results: list[Json]
    ) -> tuple[list[Json], Json]:
        from openseek.evaluation.lighteval_model import ReplayModel
        from openseek.evaluation.lighteval_tasks import run_task

        replay = ReplayModel({key: r for (key, _), r in zip(items, results, strict=True)})
        result = run_task(task, items, replay)
        benchmark = BENCHMARKS.get(task)
        metric = benchmark.metric if benchmark else "acc"
        rows = [
            {**row, "picked": picked(row, metric), "correct": bool(row[metric])}
            for row in result.rows
        ]
        return rows, {
            "score": score_row(task, metric, rows, self._groups(task, items)),
            "likelihood": likelihood(rows),
            "lighteval": {k: [v, e if e == e else None] for k, (v, e) in result.values.items()},
        }

    def _judged(self, task: str, items: Any, results: list[Json]) -> tuple[list[Json], Json]:
        benchmark: Any = BENCHMARKS[task]
        rows = []
        for (key, item), result in zip(items, results, strict=True):
            judged = benchmark.judge(result["output"], item.answers)
            rows.append(
                {
                    "id": key, "gold": -1, "logprobs": [], "tokens": [], "chars": [], "bytes": [],
                    "output": result["output"], "answers": list(item.answers), **judged,
                    "picked": -1, "correct": judged[benchmark.metric] == 1.0,
                }
            )  # fmt: skip
        groups = self._groups(task, items)
        return rows, {"score": score_row(task, benchmark.metric, rows, groups)}

    def _groups(self, task: str, items: Any) -> list[str] | None:
        benchmark = BENCHMARKS.get(task)
        if benchmark and benchmark.group and task in self.complete:
            return [item.meta[benchmark.group] for _, item in items]
        return None


def item_to_json(item: Item) -> Json:
    """Dump an item for the finishing process."""
    from dataclasses import asdict

    return asdict(item)


def item_from_json(raw: Json) -> Item:
    """Read what `item_to_json` wrote, also after JSON turned tuples into lists."""
    fields: Json = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return Item(**fields)


def _with_texts(
    task: str, rows: list[Json], items: list[tuple[str, Item]], samples: list[Sample]
) -> list[Json]:
    benchmark = BENCHMARKS.get(task)
    key = benchmark.group if benchmark else ""
    return [
        {
            **row,
            "query": item.query,
            "choices": list(item.choices),
            "group": item.meta.get(key, "") if key else "",
            "context": sample.context,
            "continuations": list(sample.continuations),
        }
        for row, (_, item), sample in zip(rows, items, samples, strict=True)
    ]


def _write_rows(path: Path, rows: list[Json]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = {"logprobs": pa.float64(), "tokens": pa.int64(), "chars": pa.int64(),
             "bytes": pa.int64(), "choices": pa.string(), "continuations": pa.string(),
             "answers": pa.string()}  # fmt: skip
    table = pa.Table.from_pylist(rows)
    # A list that is empty in every row has no type of its own.
    schema = pa.schema(
        pa.field(f.name, pa.list_(lists[f.name])) if f.name in lists else f for f in table.schema
    )
    pq.write_table(table.cast(schema), path, compression="zstd")
