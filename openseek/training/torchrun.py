"""Start ranks by torchrun, srun or any command, or wait for ranks that somebody else starts.

Ranks may be on other nodes: they report through the job's folder (`openseek.training.channel`),
and end themselves when the job is stopped or this process falls silent.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from openseek.config.runtime import LaunchConfig, RuntimeConfig
from openseek.errors import ConfigError, TrainingError
from openseek.training.channel import Heartbeat, Tail, event
from openseek.training.failures import tail
from openseek.training.parent import Order, Parent, serve

log = logging.getLogger(__name__)

DEFAULT = "-m torch.distributed.run --standalone --nproc-per-node {world_size}"
WORKER = "-m openseek.training.worker {job}"
LOG = "torchrun.log"
TICK_S = 0.2
TERM_S = 3.0
LATE_S = 10.0


def run(parent: Parent, runtime: RuntimeConfig) -> None:
    """Serve one job."""
    parent.send(event("ready", **_devices(runtime)))
    order = parent.order()
    if order is not None:
        Run(runtime.launch, order, parent).to_the_end()


def _devices(runtime: RuntimeConfig) -> dict[str, Any]:
    launch = runtime.launch
    if runtime.world_size or (launch.command and "{world_size}" not in launch.command):
        return {"accelerator": "", "devices": 0}
    if launch.command:
        raise ConfigError(
            "the command asks for {world_size}, and this machine cannot know it",
            where="runtime.launch.command",
            mend="Set runtime.world_size to the number of ranks on all nodes.",
        )
    from openseek.training import bootstrap

    accelerator = bootstrap.load_libraries()
    return {"accelerator": accelerator.device_name(), "devices": bootstrap.n_devices(accelerator)}


def command_of(launch: LaunchConfig, job: str, world_size: int) -> list[str]:
    """Return the command that starts the ranks.

    Args:
        launch: With a command of its own, or none.
        job: Path of the job.
        world_size: Number of ranks.

    Raises:
        ConfigError: The command has a placeholder that nothing is known for.
    """
    own = launch.command if launch.command not in ("", "wait") else ""
    template = shlex.split(own or f"{DEFAULT} {WORKER}")
    try:
        words = [word.format(job=job, world_size=world_size) for word in template]
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(
            f"only {{job}} and {{world_size}} can be filled in: {error}",
            where="runtime.launch.command",
            mend="Write other braces twice: {{ }}.",
        ) from None
    return words if own else [sys.executable, *words]


class Run:
    """One job, from its start to its end.

    Args:
        launch: How to start its ranks.
        order: What to train.
        parent: Who wants to know.
    """

    def __init__(self, launch: LaunchConfig, order: Order, parent: Parent) -> None:
        self.launch = launch
        self.parent = parent
        self.folder = order.folder
        self.command = command_of(launch, order.job, order.world_size)
        self.by_hand = launch.command == "wait"
        self.tail = Tail(self.folder)
        self.seen: set[str] = set()
        self.process: subprocess.Popen[bytes] | None = None

    def to_the_end(self) -> None:
        """Start the ranks, pass their events on, and leave none behind."""
        heartbeat = Heartbeat(self.folder)
        try:
            self._start()
            self._watch()
        finally:
            heartbeat.stop()
            self._end()

    def _start(self) -> None:
        if self.by_hand:
            self.parent.send(event("waiting", command=shlex.join(self.command)))
            return
        if shutil.which(self.command[0]) is None:
            raise ConfigError(
                f"no program {self.command[0]!r} on this machine",
                where="runtime.launch.command",
                mend="Give one that is on the PATH.",
            )
        tether = [sys.executable, "-m", "openseek.training.tether", str(os.getpid())]
        with (self.folder / LOG).open("wb") as output:
            self.process = subprocess.Popen(
                [*tether, *self.command], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def _watch(self) -> None:
        begin_s = time.monotonic()
        while not self.parent.gone:
            code = self.process.poll() if self.process else None
            self._forward()
            if "finished" in self.seen and (code == 0 or self.by_hand):
                self.parent.send(event("end"))
                return
            if code == 0:
                self._wait_for_late_events()
                continue
            if code is not None or (self.by_hand and any(self.folder.glob("rank*.error.json"))):
                self._report_failure(code)
                return
            if "start" not in self.seen and time.monotonic() - begin_s > self.launch.wait_s:
                raise TrainingError(
                    f"the ranks did not start within {self.launch.wait_s:.0f} s; last words of "
                    f"the command:\n{self._last_words()}\n",
                    where=shlex.join(self.command),
                    mend="Raise runtime.launch.wait_s, or see why they do not start.",
                )
            self.parent.order(TICK_S)

    def _wait_for_late_events(self) -> None:
        """Give a network file system time to show the last events of a command that succeeded."""
        end_s = time.monotonic() + LATE_S
        while "finished" not in self.seen and not self.parent.gone:
            if time.monotonic() > end_s:
                raise TrainingError(
                    f"the command ended with code 0 and no rank has finished:\n"
                    f"{self._last_words()}\n",
                    where=shlex.join(self.command),
                    mend="It must wait for the ranks, and start `openseek.training.worker {job}`.",
                )
            self._forward()
            self.parent.order(TICK_S)

    def _forward(self) -> None:
        for line in self.parent.forward(self.tail):
            for kind in ("start", "finished"):
                if line.startswith(event(kind)[:-1]):
                    self.seen.add(kind)

    def _report_failure(self, code: int | None) -> None:
        ends = root_cause(self._last_words(200))
        left = [int(re.sub(r"\D", "", p.name)) for p in self.folder.glob("rank*.error.json")]
        ends += [{"rank": rank, "code": 1} for rank in sorted(left)]
        if not ends:
            raise TrainingError(
                f"the command that starts the ranks ended with code {code}:\n"
                f"{self._last_words()}\n",
                where=shlex.join(self.command),
                mend="Run the command by hand, and mend what it says.",
            )
        for end in ends:
            self.parent.send(event("exit", **end))

    def _last_words(self, lines: int = 0) -> str:
        path = self.folder / LOG
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return "\n".join(text.splitlines()[-lines:]) if lines else tail(text)

    def _end(self) -> None:
        """End the command; it passes the signal on to ranks on other nodes."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(TERM_S)
        self.process.kill()
        self.process.wait()


def root_cause(text: str) -> list[dict[str, Any]]:
    """Find the rank that torchrun says failed first, and its exit code.

    Args:
        text: What torchrun printed.

    Returns:
        One {"rank", "code"}, or nothing.
    """
    _, _, block = text.rpartition("Root Cause")
    rank = re.search(r"\brank\s*:\s*(\d+)", block)
    code = re.search(r"\bexitcode\s*:\s*(-?\d+)", block)
    return [{"rank": int(rank[1]), "code": int(code[1])}] if rank and code else []


if __name__ == "__main__":
    serve(run)
