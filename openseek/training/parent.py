"""A child's side of the pipe to the process that supervises training.

    stdin   a line of JSON for each order: {"job", "world_size", "logs"}; its end is the parent's
    stdout  a line of JSON for each event

Light to import.
"""

from __future__ import annotations

import json
import os
import select
from typing import Any

from openseek.training.channel import event
from openseek.training.failures import record_of


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

    def order(self, timeout_s: float | None = None) -> dict[str, Any] | None:
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
        return json.loads(line)
