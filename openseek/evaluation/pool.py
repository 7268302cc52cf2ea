"""Worker processes that share chunks of samples.

Each chunk is computed whole by one process with one thread, so results do not depend on how many
there are. On 2 cores, two processes of one thread beat one process of two.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openseek.errors import PermanentError, TransientError

log = logging.getLogger(__name__)
Json = dict[str, Any]


def default_processes(device: str) -> int:
    """One process a GPU, else one a core, up to 4 (each holds a copy of the model)."""
    gpus = 0 if device == "cpu" else len(glob.glob("/dev/nvidia[0-9]*"))
    return gpus or min(4, os.cpu_count() or 1)


def run_units(
    units: Sequence[Json],
    job: Json,
    scratch: Path,
    *,
    processes: int,
    timeout_s: float,
    role: str = "",
    ready: subprocess.Popen[str] | None = None,
) -> Iterator[Json]:
    """Hand units to worker processes and yield each answer as it comes.

    The calling thread must live on while the processes run: they die with it.

    Args:
        units: What a worker's `run` takes; "unit" is the name in its answer.
        job: The workers' job.
        scratch: Folder for the job file and the workers' logs.
        processes: How many workers.
        timeout_s: Seconds without any answer after which the workers are taken for hung.
        role: Of the workers: "finish", else they score.
        ready: A worker that was started before, to spare the wait for its imports.

    Raises:
        PermanentError: A unit failed; the message names it.
        TransientError: A worker was killed or hangs.
    """
    if not units:
        return
    path = write_job(job, scratch)
    answers: queue.Queue[tuple[int, Json | None]] = queue.Queue()
    workers: list[subprocess.Popen[str]] = []
    waiting = iter(units)
    busy: set[int] = set()
    try:
        for index in range(min(processes, len(units))):
            first = ready if index == 0 else None
            workers.append(first or start(path, role or str(index), scratch))
            _listen(workers[index], index, answers)
            _send(workers[index], next(waiting))
            busy.add(index)
        while busy:
            index, answer = _next(answers, timeout_s)
            if index not in busy:
                continue  # a worker that was out of work has ended
            if answer is None:
                raise _death(workers[index], scratch / f"worker-{role or index}.log")
            if "error" in answer:
                what, where, mend = answer["error"]
                place = ": ".join(p for p in (answer["unit"], where) if p)
                raise PermanentError(what, where=place, mend=mend)
            following = next(waiting, None)
            if following is None:
                busy.remove(index)
            _send(workers[index], following)
            yield answer
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _next(
    answers: queue.Queue[tuple[int, Json | None]], timeout_s: float
) -> tuple[int, Json | None]:
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty as error:
        raise TransientError(
            f"no answer from the evaluation workers in {timeout_s:.0f} s",
            where="evaluation",
            mend="Raise evaluation.timeout_s if the model is that slow.",
        ) from error


def write_job(job: Json, scratch: Path) -> Path:
    """Write what the workers need to know."""
    path = scratch / "job.json"
    path.write_text(json.dumps({**job, "parent": os.getpid()}), encoding="utf-8")
    return path


def start(job: Path, role: str, scratch: Path) -> subprocess.Popen[str]:
    """Start a worker: its index, or "finish"."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (scratch / f"worker-{role}.log").open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "openseek.evaluation.worker", str(job), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            env=env,
        )


def _listen(worker: subprocess.Popen[str], index: int, answers: queue.Queue[Any]) -> None:
    def listen() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            answers.put((index, json.loads(line)))
        answers.put((index, None))

    threading.Thread(target=listen, daemon=True).start()


def _send(worker: subprocess.Popen[str], unit: Json | None) -> None:
    """Give a worker its next unit; a dead one shows up as the end of its answers."""
    assert worker.stdin is not None
    try:
        if unit is None:
            worker.stdin.close()
        else:
            worker.stdin.write(json.dumps(unit) + "\n")
            worker.stdin.flush()
    except BrokenPipeError:
        log.warning("evaluation worker pid=%d does not read", worker.pid)


def _death(worker: subprocess.Popen[str], stderr: Path) -> TransientError | PermanentError:
    code = worker.wait()
    tail = stderr.read_text(errors="replace").strip().splitlines()[-5:]
    what = f"an evaluation worker ended with {code}: {' | '.join(tail)[-800:]}"
    if code < 0:
        return TransientError(
            what,
            where="evaluation",
            mend="Killed for memory? Lower evaluation.processes or evaluation.batch_tokens.",
        )
    return PermanentError(what, where="evaluation")
