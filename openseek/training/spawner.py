"""Start ranks fast: a process that has torch and DeepSpeed loaded forks them.

Importing both takes 5 to 9 s on a laptop core. One spawner does it once, for all ranks and, since
it stays until its parent ends, for all stages of a run; a fork takes milliseconds. It never
touches an accelerator itself.

    stdin   a line of JSON for each launch: {"job", "world_size", "logs"}
    stdout  {"event": "ready", ...}; lines that rank 0 sends; {"event": "exit", "rank", "code"}

When its parent dies, however that happens, its stdin ends: it kills its ranks and leaves. Should it
be killed itself, the kernel kills the ranks (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve launches until stdin ends."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print goes to the log

    def send(line: str) -> None:
        os.write(answers, (line + "\n").encode())

    from openseek.training import bootstrap

    accelerator = bootstrap.load_libraries()
    _preload()
    send(
        json.dumps(
            {
                "event": "ready",
                "accelerator": accelerator.device_name(),
                "devices": bootstrap.n_devices(accelerator),
            }
        )
    )
    _serve(send)


def _preload() -> None:
    for name in ("mixture", "model.model", "training.loop", "training.worker"):
        importlib.import_module(f"openseek.{name}")


def _serve(send: Callable[[str], None]) -> None:
    ranks: dict[int, int] = {}
    pending = b""
    while True:
        # Linux has no wait for "input or a child's end"; a tick is cheap beside a training step.
        ready, _, _ = select.select([0], [], [], 0.1)
        if ready:
            chunk = os.read(0, 65536)
            if not chunk:
                _kill(ranks)
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                ranks.update(_launch(json.loads(line), send))
        for pid in list(ranks):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                send(json.dumps({"event": "exit", "rank": ranks.pop(pid), "code": code}))


def _launch(order: dict[str, Any], send: Callable[[str], None]) -> dict[int, int]:
    job, logs = Path(order["job"]), Path(order["logs"])
    rendezvous = logs / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    parent = os.getpid()
    started = {}
    for rank in range(order["world_size"]):
        pid = os.fork()
        if pid == 0:
            _become_rank(rank, order["world_size"], job, logs, rendezvous, parent, send)
        started[pid] = rank
    return started


def _become_rank(
    rank: int,
    world_size: int,
    job: Path,
    logs: Path,
    rendezvous: Path,
    parent: int,
    send: Callable[[str], None],
) -> NoReturn:
    code = 1
    try:
        die_with_parent(parent)
        log = os.open(logs / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        from openseek.training import bootstrap, worker

        os.environ.update(bootstrap.rank_environment(rank, world_size))
        code = worker.run_rank(job, send, rendezvous)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _kill(ranks: dict[int, int]) -> None:
    for pid in ranks:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
