"""Chunks of samples over a Ray cluster; a worker loads the model once and keeps it."""

from __future__ import annotations

import atexit
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet
from openseek.config.evaluation import EvaluationConfig
from openseek.evaluation.samples import Sample

Json = dict[str, Any]
_loaded: dict[str, Any] = {}
"""Digest of the model -> its scorer, in a Ray worker."""


def run_chunks(
    ctx: StepContext[EvaluationConfig], job: Json, parts: Sequence[Sequence[Sample]]
) -> Iterator[dict[str, Json]]:
    """Compute chunks on Ray and yield each one's results as they come."""
    from openseek.compute import map_shards

    answers: queue.Queue[dict[str, Json] | BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            map_shards(
                score_chunk,
                [[s.to_json() for s in part] for part in parts],
                runtime=ctx.runtime,
                args=(job, ctx.inputs["model"], ctx.inputs["tokenizer"]),
                gpu=ctx.config.device != "cpu",
                on_result=answers.put,
            )
            answers.put(None)
        except BaseException as error:  # handed to the caller's thread
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    while (answer := answers.get()) is not None:
        if isinstance(answer, BaseException):
            raise answer
        yield answer


def score_chunk(samples: list[Json], job: Json, model: FileSet, tokenizer: FileSet) -> Json:
    """Compute a chunk in a Ray worker, whose node may have to fetch the model first."""
    import torch

    from openseek.evaluation.layout import link_model
    from openseek.evaluation.worker import Scorer, device_of

    torch.set_num_threads(1)
    key = job["model_digest"]
    if key not in _loaded:
        _loaded.clear()
        folder = Path(tempfile.mkdtemp(prefix="openseek-model-"))
        atexit.register(shutil.rmtree, folder, True)
        here = {**job, **link_model(model, tokenizer, folder)}
        _loaded[key] = Scorer(here, device_of(job["config"]["device"], 0))
    results: Json = _loaded[key].run({"samples": samples})["results"]
    return results
