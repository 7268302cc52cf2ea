"""A process that evaluates one model: `python -m openseek.evaluation.worker JOB.json INDEX`.

It answers each line on stdin (a unit of work) with a line of JSON on stdout. A scoring process
loads the model once and computes chunks of samples. The finishing process (INDEX is "finish") has
no model: it hands results to lighteval's pipeline, task by task, and writes the item files.
lighteval stays in there: its imports take seconds, it changes global state (torch's grad mode,
random seeds, loggers), and whatever it does ends with this process. If the parent dies, so does
this.
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
from openseek.evaluation.samples import Sample

Json = dict[str, Any]
PR_SET_PDEATHSIG = 1
FINISH = "finish"


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


class Scorer:
    """Computes chunks of samples on a loaded model.

    Args:
        job: Folders of model and tokenizer, and the configuration.
        device: Torch device.
    """

    def __init__(self, job: Json, device: str) -> None:
        self.config = EvaluationConfig.model_validate(job["config"])
        folder, tokenizer = Path(job["model"]), Path(job["tokenizer"])
        self._compute = self._load(folder, tokenizer, device)

    def _load(self, folder: Path, tokenizer: Path, device: str) -> Callable[..., dict[str, Json]]:
        from openseek.evaluation.computing import compute
        from openseek.evaluation.models import kind_of, load_codec, load_model

        config = self.config
        if config.backend == "lm-eval":
            from openseek.evaluation.lm_eval_backend import LmEval

            return LmEval(folder, tokenizer, config, device).compute
        codec = load_codec(tokenizer, kind_of(folder))
        model = load_model(
            folder, dtype=config.dtype, device=device, context_length=config.context_length
        )

        def run(samples: list[Sample]) -> dict[str, Json]:
            return compute(model, codec, samples, batch_tokens=config.batch_tokens)

        return run

    def run(self, unit: Json) -> Json:
        """Compute a chunk: {"samples": [...]} or {"path": a file with that} -> {"results": ...}."""
        raw = unit.get("samples") or json.loads(Path(unit["path"]).read_text(encoding="utf-8"))
        return {"results": self._compute([Sample.from_json(s) for s in raw])}


def device_of(wanted: str, index: int) -> str:
    """Name the device of a worker; GPUs are dealt out in turn."""
    from openseek.evaluation.models import pick_device

    device = pick_device(wanted)
    if device != "cuda":
        return device
    import torch

    return f"cuda:{index % torch.cuda.device_count()}"


def serve(run: Callable[[Json], Json], reply: Callable[[Json], None]) -> None:
    """Answer units from stdin until it ends."""
    for line in sys.stdin:
        unit = json.loads(line)
        try:
            reply({"unit": unit["unit"], **run(unit)})
        except OpenSeekError as error:
            reply({"unit": unit["unit"], "error": [error.what, error.where, error.mend]})
            raise


def main() -> None:
    """Prepare for the job and serve."""
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
    worker: Any
    try:
        if sys.argv[2] == FINISH:
            from openseek.evaluation.finishing import Finisher

            worker = Finisher(job)
        else:
            worker = Scorer(job, device_of(job["config"]["device"], int(sys.argv[2])))
    except OpenSeekError as error:
        reply({"unit": "", "error": [error.what, error.where, error.mend]})
        raise
    serve(worker.run, reply)


if __name__ == "__main__":
    main()
