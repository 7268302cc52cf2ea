"""Start the ranks of a stage, watch them, and leave none behind.

Light to import: torch, DeepSpeed and Ray are loaded by a child, never in this process. The child is
one of three programs that take orders on stdin and answer with events on stdout:

    local     openseek.training.spawner     forks ranks of this machine
    ray       openseek.training.ray_train   drives Ray Train on a cluster
    torchrun  openseek.training.torchrun    runs torchrun, srun or another command

When this process dies, however that happens, the child's stdin ends and it ends its ranks.
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
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from openseek import errors
from openseek.config.runtime import RuntimeConfig
from openseek.config.training import TrainConfig
from openseek.errors import ConfigError, TrainingError
from openseek.training import failures
from openseek.training.bootstrap import process_environment
from openseek.training.ds_config import check_ranks, rank_problem

log = logging.getLogger(__name__)

Event = dict[str, Any]
MODULES = {"local": "spawner", "ray": "ray_train", "torchrun": "torchrun"}
OTHERS_S = 2.0  # for ranks that a dead one takes with it to end by themselves
FAREWELL_S = 5.0  # for a child to end ranks that are not its own children


class Spawner:
    """A child process that starts ranks.

    Args:
        runtime: How ranks are started, and with how many threads.
    """

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime
        self._log, log_path = tempfile.mkstemp(prefix="openseek-spawner-")
        os.unlink(log_path)  # open files outlive their name; nothing is left to clean up
        threads = runtime.threads_per_rank
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"openseek.training.{MODULES[runtime.launch.kind]}",
                runtime.model_dump_json(),
            ],
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
        """Wait until it can launch.

        Returns:
            {"accelerator", "devices"}: what ranks run on and how many of them there is room for; 0
            devices: the CPU cores of this machine decide.

        Raises:
            ConfigError: It cannot launch, such as without a cluster at the configured address.
        """
        while not self.ready:
            event = self.next_event()
            if event and event["event"] == "failed":
                raise failures.rebuild(event["error"])
            if event and event["event"] == "ready":
                self.ready = event
        return self.ready

    def launch(self, job: Path, world_size: int, logs: Path) -> None:
        """Start the ranks of a job."""
        order = {"job": str(job), "world_size": world_size, "logs": str(logs)}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # next_event says why it ended
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
        """End it and all its ranks, in seconds."""
        if self.alive:
            if self.runtime.launch.kind != "local":
                self._take_leave()
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        os.close(self._log)

    def _take_leave(self) -> None:
        """Let it end ranks that are not its own children; its output ends when it does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        end_s = time.monotonic() + FAREWELL_S
        while (left_s := end_s - time.monotonic()) > 0:
            ready, _, _ = select.select([self._process.stdout], [], [], left_s)
            if ready and not os.read(self._process.stdout.fileno(), 65536):
                return

    @property
    def alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    def _tail(self) -> str:
        size = os.fstat(self._log).st_size
        return failures.tail(
            os.pread(self._log, 20_000, max(0, size - 20_000)).decode(errors="replace")
        )


def _python_path() -> str:
    """Let a child import this very package, wherever it was imported from."""
    package = str(Path(errors.__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))


_idle: list[Spawner] = []
_lock = threading.Lock()


def acquire(runtime: RuntimeConfig) -> Spawner:
    """Take the idle spawner of this process, or start one."""
    with _lock:
        while _idle:
            spawner = _idle.pop()
            if spawner.alive and spawner.runtime == runtime:
                return spawner
            spawner.kill()
    return Spawner(runtime)


def release(spawner: Spawner) -> None:
    """Keep a spawner of local ranks for the next stage; at most one is kept."""
    with _lock:
        if spawner.alive and not _idle and spawner.runtime.launch.kind == "local":
            _idle.append(spawner)
            return
    spawner.kill()


@atexit.register
def close() -> None:
    """End the idle spawner."""
    with _lock:
        while _idle:
            _idle.pop().kill()


def choose_world_size(runtime: RuntimeConfig, train: TrainConfig, devices: int) -> int:
    """Return the number of ranks.

    Args:
        runtime: `world_size` 0 asks for the largest number that accelerators, or CPU cores
            without any, allow and that the training can be spread over.
        train: What is spread over them.
        devices: Accelerators of this machine.

    Raises:
        ConfigError: The number asked for does not fit, or none does.
    """
    if runtime.world_size:
        check_ranks(train, runtime.world_size)
        return runtime.world_size
    cores = len(os.sched_getaffinity(0)) // runtime.threads_per_rank
    most = max(1, devices or cores)
    fitting = [n for n in range(1, most + 1) if rank_problem(train, n) is None]
    if not fitting:
        problem = rank_problem(train, most)
        raise ConfigError(
            f"no number of ranks up to {most}, which this machine has room for, fits: {problem}",
            where="runtime.world_size=0",
            mend="Or set runtime.world_size to start ranks beyond that.",
        )
    return max(fitting)


def supervise(
    spawner: Spawner, job: Path, world_size: int, on_event: Callable[[Event], None]
) -> None:
    """Run the ranks of a job to their end.

    Args:
        spawner: Starts them.
        job: JSON of a `Job`; logs and errors go to its folder.
        world_size: Number of ranks; a command of torchrun's may start another number.
        on_event: Receives what rank 0 reports.

    Raises:
        RankError: A rank ended early; with the tail of its log.
        OpenSeekError: What a rank raised on purpose.
    """
    spawner.launch(job, world_size, job.parent)
    running = set(range(world_size))
    while running:
        event = spawner.next_event()
        if event is None:
            continue
        if event["event"] == "end":
            return
        if event["event"] == "failed":
            raise failures.rebuild(event["error"])
        if event["event"] != "exit":
            on_event(event)
            continue
        running.discard(event["rank"])
        if event["code"] != 0:
            raise failures.explain(job.parent, [event, *_others(spawner, running)])


def _others(spawner: Spawner, running: set[int]) -> list[Event]:
    """Collect the ranks that a dead one takes with it; the first to be seen may not be it."""
    ends: list[Event] = []
    end_s = time.monotonic() + OTHERS_S
    while running and time.monotonic() < end_s:
        try:
            event = spawner.next_event()
        except TrainingError:  # it ended after its report
            break
        if event and event["event"] == "exit":
            running.discard(event["rank"])
            ends += [event] if event["code"] != 0 else []
    return ends
