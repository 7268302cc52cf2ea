"""Start the ranks of one node, watch them, and leave none behind.

Light to import: torch and DeepSpeed are loaded by the spawner, never in this process.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from openseek import errors
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, OpenSeekError, TrainingError
from openseek.training.bootstrap import process_environment

log = logging.getLogger(__name__)

Event = dict[str, Any]
TAIL_LINES = 25


class Spawner:
    """A process that forks ranks; see `openseek.training.spawner`.

    Args:
        threads: CPU threads of a rank.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._log, log_path = tempfile.mkstemp(prefix="openseek-spawner-")
        os.unlink(log_path)  # open files outlive their name; nothing is left to clean up
        self._process = subprocess.Popen(
            [sys.executable, "-m", "openseek.training.spawner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **process_environment(threads), "PYTHONPATH": _python_path()},
            start_new_session=True,  # a group of its own: one signal ends it and all its ranks
        )
        self._pending = b""
        self._events: list[Event] = []
        self.ready: Event = {}

    def start(self) -> Event:
        """Wait until it can launch; returns {"accelerator", "devices"}."""
        while not self.ready:
            event = self.next_event()
            if event and event["event"] == "ready":
                self.ready = event
        return self.ready

    def launch(self, job: Path, world_size: int, logs: Path) -> None:
        """Start the ranks of a job."""
        order = {"job": str(job), "world_size": world_size, "logs": str(logs)}
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        self._process.stdin.flush()

    def next_event(self, timeout_s: float = 0.2) -> Event | None:
        """Return the next event, or None when there was none for a while.

        Waits in short steps, so that an interrupt reaches a thread that is not the main one too.

        Raises:
            TrainingError: The spawner is gone.
        """
        if self._events:
            return self._events.pop(0)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready:
            return None
        chunk = os.read(self._process.stdout.fileno(), 65536)
        if not chunk:
            raise TrainingError(
                f"the process that starts the ranks ended: {self._tail()}",
                where=f"exit code {self._process.wait()}",
                mend="`openseek doctor` checks torch and DeepSpeed.",
            )
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        self._events.extend(json.loads(line) for line in lines)
        return self._events.pop(0) if self._events else None

    def kill(self) -> None:
        """End it and all its ranks at once."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        os.close(self._log)

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    def _tail(self) -> str:
        size = os.fstat(self._log).st_size
        return tail(os.pread(self._log, 20_000, max(0, size - 20_000)).decode(errors="replace"))


def _python_path() -> str:
    """Let a child import this very package, wherever it was imported from."""
    package = str(Path(errors.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


_idle: list[Spawner] = []
_lock = threading.Lock()


def acquire(threads: int) -> Spawner:
    """Take the idle spawner of this process, or start one."""
    with _lock:
        while _idle:
            spawner = _idle.pop()
            if spawner.alive and spawner.threads == threads:
                return spawner
            spawner.kill()
    return Spawner(threads)


def release(spawner: Spawner) -> None:
    """Keep a spawner for the next stage; at most one is kept."""
    with _lock:
        if spawner.alive and not _idle:
            _idle.append(spawner)
            return
    spawner.kill()


@atexit.register
def close() -> None:
    """End the idle spawner."""
    with _lock:
        while _idle:
            _idle.pop().kill()


def choose_world_size(runtime: RuntimeConfig, n_micro: int, devices: int) -> int:
    """Return the number of ranks.

    Args:
        runtime: `world_size` 0 asks for the largest number that accelerators, or CPU cores
            without any, allow and that divides the micro-batches of a step.
        n_micro: Micro-batches in an optimizer step.
        devices: Accelerators of this machine.

    Raises:
        ConfigError: The number asked for does not divide the micro-batches.
    """
    if runtime.world_size:
        if n_micro % runtime.world_size:
            raise ConfigError(
                f"{n_micro} micro-batches a step cannot be shared by {runtime.world_size} ranks",
                where=f"runtime.world_size={runtime.world_size}",
                mend="Choose a divisor, or change train.batch_sequences or train.micro_batch.",
            )
        return runtime.world_size
    cores = len(os.sched_getaffinity(0)) // runtime.threads_per_rank
    most = max(1, devices or cores)
    return max(n for n in range(1, min(most, n_micro) + 1) if n_micro % n == 0)


def supervise(
    spawner: Spawner, job: Path, world_size: int, on_event: Callable[[Event], None]
) -> None:
    """Run the ranks of a job to their end.

    Args:
        spawner: Starts them.
        job: JSON of a `Job`; logs and errors go to its folder.
        world_size: Number of ranks.
        on_event: Receives what rank 0 reports.

    Raises:
        TrainingError: A rank ended early; with the tail of its log.
        OpenSeekError: What a rank raised on purpose.
    """
    spawner.launch(job, world_size, job.parent)
    running = set(range(world_size))
    while running:
        event = spawner.next_event()
        if event is None:
            continue
        if event["event"] != "exit":
            on_event(event)
            continue
        running.discard(event["rank"])
        if event["code"]:
            raise _failure(job.parent, event["rank"], event["code"])


def _failure(logs: Path, rank: int, code: int) -> OpenSeekError:
    path = logs / f"rank{rank}.error.json"
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["known"]:
            kind = getattr(errors, record["kind"], TrainingError)
            return kind(record["what"], where=record["where"], mend=record["mend"])
    log_file = logs / f"rank{rank}.log"
    text = log_file.read_text(encoding="utf-8", errors="replace") if log_file.is_file() else ""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    memory = " It may have been out of memory: lower train.micro_batch." if code == -9 else ""
    return TrainingError(
        f"rank {rank} {how}; the end of its log:\n{tail(text)}\n",
        where=str(log_file),
        mend=f"Start the same command again to go on from the last checkpoint.{memory}",
    )


def tail(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
