"""A child's side of the pipe to the process that supervises training: one job of its own.

    stdin   a line of JSON for each order: {"job", "world_size", "logs"}; its end is the parent's
    stdout  a line of JSON for each event

Light to import.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from openseek.config.runtime import RuntimeConfig
from openseek.errors import OpenSeekError
from openseek.training.channel import Tail, event
from openseek.training.failures import record_of


@dataclass(frozen=True)
class Order:
    """What the parent wants.

    Attributes:
        job: Path of the job.
        world_size: Number of ranks.
        folder: Where logs, errors and events go.
    """

    job: str
    world_size: int
    folder: Path


class Parent:
    """The process that started this one; whatever libraries print goes to its log from now on."""

    def __init__(self) -> None:
        self._answers = os.dup(1)
        os.dup2(2, 1)
        self._pending = b""
        self.gone = False

    def send(self, line: str) -> None:
        """Send an event; nothing happens when nobody is left to read it."""
        try:
            os.write(self._answers, (line + "\n").encode())
        except BrokenPipeError:
            self.gone = True

    def fail(self, error: BaseException) -> None:
        """Report that there will be no training."""
        self.send(event("failed", error=record_of(error, where="the launcher")))

    def forward(self, tail: Tail) -> list[str]:
        """Pass new events of a job on, and return them."""
        lines = tail.lines()
        for line in lines:
            self.send(line)
        return lines

    def order(self, timeout_s: float | None = None) -> Order | None:
        """Wait for the next order; None when there is none in time, or the parent is gone."""
        while b"\n" not in self._pending:
            ready, _, _ = select.select([0], [], [], timeout_s)
            if not ready:
                return None
            chunk = os.read(0, 65536)
            if not chunk:
                self.gone = True
                return None
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        found = json.loads(line)
        return Order(str(found["job"]), int(found["world_size"]), Path(found["logs"]))


def serve(work: Callable[[Parent, RuntimeConfig], None]) -> None:
    """Be the child: do the work with the configuration on the command line, and report failure."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's end reaches it through stdin
    parent = Parent()
    try:
        work(parent, RuntimeConfig.model_validate_json(sys.argv[1]))
    except OpenSeekError as error:
        parent.fail(error)
