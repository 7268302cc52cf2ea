"""A process that evaluates one model: `python -m openseek.evaluation.worker JOB.json INDEX`.

It loads the model once, then answers each line on stdin (the name of a unit of work) with a line
of JSON on stdout. lighteval stays in here: its imports take seconds, it changes global state
(torch's grad mode, random seeds, loggers), and whatever it does ends with this process. If the
parent dies, so does this.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openseek.config.evaluation import EvaluationConfig
from openseek.errors import OpenSeekError
from openseek.evaluation.catalog import BENCHMARKS, Item
from openseek.evaluation.heldout import CLOZE_GROUPS

Json = dict[str, Any]
PR_SET_PDEATHSIG = 1
BPB = "bpb-"
"""Units: a task's name, or `bpb-{category}`."""


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


class Evaluator:
    """Runs units of work on a loaded model and writes their item files."""

    def __init__(self, job: Json, index: int = 0) -> None:
        from openseek.evaluation.models import kind_of, load_codec, load_model

        self.job = job
        self.config = EvaluationConfig.model_validate(job["config"])
        self.out = Path(job["out"])
        folder = Path(job["model"])
        self.codec = load_codec(Path(job["tokenizer"]), kind_of(folder))
        self.model = load_model(
            folder,
            dtype=self.config.dtype,
            device=_device(self.config.device, index),
            context_length=self.config.context_length,
        )
        self._lighteval: Any = None
        self._documents: list[Any] | None = None

    def run(self, unit: str) -> Json:
        """Run a unit and return its files (name -> path) and statistics."""
        if unit.startswith(BPB):
            return self._bits(unit, unit[len(BPB) :])
        items = self._items(unit)
        if not items:
            return {"files": {}, "stats": {"reason": "too few long enough held-out documents"}}
        return self._task(unit, items)

    def documents(self) -> list[Any]:
        """Return the sample of held-out documents."""
        from openseek.evaluation.heldout import read_documents

        if self._documents is None:
            self._documents = read_documents(Path(self.job["heldout"]))
        return self._documents

    def _bits(self, unit: str, category: str) -> Json:
        from openseek.evaluation.heldout import bits_rows, document_bits

        documents = [d for d in self.documents() if d.category == category]
        measured = document_bits(
            self.model, self.codec, documents, batch_tokens=self.config.batch_tokens
        )
        rows = bits_rows(measured)
        path = self.out / f"{unit}-{os.getpid()}.parquet"
        _write_rows(path, rows)
        return {"files": {f"documents/{category}.parquet": str(path)}, "stats": {"documents": rows}}

    def _items(self, task: str) -> list[tuple[str, Item]]:
        from openseek.evaluation.benchmarks import read_items
        from openseek.evaluation.heldout import cloze_items

        if task in CLOZE_GROUPS:
            return cloze_items(
                task, self.documents(), self.codec, self.config.cloze, self.job["seed"]
            )
        return read_items(Path(self.job["benchmarks"][task]), self.config.max_samples)

    def _task(self, task: str, items: list[tuple[str, Item]]) -> Json:
        from openseek.evaluation.lighteval_compat import import_lighteval
        from openseek.evaluation.summary import likelihood, picked, score_row

        if self._lighteval is None:
            import_lighteval()
            from openseek.evaluation.lighteval_model import OpenSeekLightevalModel

            self._lighteval = OpenSeekLightevalModel(
                self.model, self.codec, batch_tokens=self.config.batch_tokens
            )
        from openseek.evaluation.lighteval_tasks import run_task

        result = run_task(task, items, self._lighteval)
        benchmark = BENCHMARKS.get(task)
        metric = benchmark.metric if benchmark else "acc"
        groups = None
        if benchmark and benchmark.group and task in self.job["complete"]:
            groups = [item.meta[benchmark.group] for _, item in items]
        rows = [
            {**row, "picked": picked(row, metric), "correct": bool(row[metric])}
            for row in result.rows
        ]
        stats = {
            "score": score_row(task, metric, rows, groups),
            "likelihood": likelihood(rows),
            "lighteval": {k: [v, e if e == e else None] for k, (v, e) in result.values.items()},
        }
        path = self.out / f"{task}-{os.getpid()}.parquet"
        _write_rows(path, _with_texts(rows, items))
        return {"files": {f"items/{task}.parquet": str(path)}, "stats": stats}


def _with_texts(rows: list[Json], items: list[tuple[str, Item]]) -> list[Json]:
    return [
        {**row, "query": item.query, "choices": list(item.choices)}
        for row, (_, item) in zip(rows, items, strict=True)
    ]


def _write_rows(path: Path, rows: list[Json]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _device(wanted: str, index: int) -> str:
    from openseek.evaluation.models import pick_device

    device = pick_device(wanted)
    if device != "cuda":
        return device
    import torch

    return f"cuda:{index % torch.cuda.device_count()}"


def serve(evaluator: Evaluator, reply: Callable[[Json], None]) -> None:
    """Answer units from stdin until it ends."""
    for line in sys.stdin:
        unit = json.loads(line)
        try:
            reply({"unit": unit, **evaluator.run(unit)})
        except OpenSeekError as error:
            reply({"unit": unit, "error": [error.what, error.where, error.mend]})
            raise


def main() -> None:
    """Load the job's model and serve."""
    job: Json = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    die_with_parent(int(job["parent"]))
    # Libraries print to stdout; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("lighteval").setLevel(logging.ERROR)

    def reply(answer: Json) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    import torch

    torch.set_num_threads(1)  # processes scale better than threads, and sums keep their order
    try:
        evaluator = Evaluator(job, int(sys.argv[2]))
    except OpenSeekError as error:
        reply({"unit": "", "error": [error.what, error.where, error.mend]})
        raise
    serve(evaluator, reply)


if __name__ == "__main__":
    main()
