"""Notice a step that does not end: show where all threads stand, then fail so that a retry resumes.

A rank that hangs (a deadlock, a lost peer, a dead disk) raises nothing, and the others wait for it
in their next collective. Every rank watches itself: after `limit_s` without a beat it writes the
stacks of all its threads to its log and to `rank{n}.stacks.txt`, after `patience` times that it
ends the process. The last resort is a timer in C, for a thread that never gives up the interpreter.
"""

from __future__ import annotations

import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from openseek.config.monitoring import MonitorConfig
from openseek.errors import TransientError

_RECENT = 64
_GRACE_S = 10.0  # what the thread gets to end the process before the timer in C does


class Watchdog:
    """Watch one rank's loop; a context manager around it.

    Args:
        config: Limits.
        stacks: File for the stacks.
        where: Names the rank in errors.
        on_stall: Told the step and the seconds that it has taken.
        on_failure: Given the error just before the process ends.
    """

    def __init__(
        self,
        config: MonitorConfig,
        stacks: Path,
        *,
        where: str,
        on_stall: Callable[[int, float], None],
        on_failure: Callable[[TransientError], None],
    ) -> None:
        self.config = config
        self.stacks = stacks
        self.where = where
        self._on_stall = on_stall
        self._on_failure = on_failure
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._step, self._since, self._limit_s = -1, time.monotonic(), config.stall_floor_s
        self._warned = False
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Start watching."""
        if self.config.stall_factor:
            self.stacks.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.stacks.open("w", encoding="utf-8")
            self.beat(-1)
            self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """Stop watching."""
        if self.config.stall_factor:
            self._end.set()
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()
            self._file.close()

    def beat(self, step: int, seconds: float | None = None) -> None:
        """Say that the loop goes on.

        Args:
            step: The step that begins.
            seconds: What the one before took, if it is to count for the median.
        """
        if not self.config.stall_factor:
            return
        with self._lock:
            if seconds is not None:
                self._seconds.append(seconds)
            self._limit_s = self.limit_s(list(self._seconds))
            self._step, self._since, self._warned = step, time.monotonic(), False
            # Each call starts a thread in C; a limit that is minutes away need not be exact.
            last_s = self._limit_s * self.config.stall_patience + _GRACE_S
            faulthandler.dump_traceback_later(last_s, exit=True, file=self._file)

    def limit_s(self, seconds: list[float]) -> float:
        """Return the time without a beat that counts as a stall, from the times of steps."""
        median = statistics.median(seconds) if seconds else 0.0
        return max(self.config.stall_floor_s, self.config.stall_factor * median)

    def _watch(self) -> None:
        while not self._end.wait(min(1.0, self._limit_s / 4)):
            with self._lock:
                stalled_s = time.monotonic() - self._since
                step, limit_s, warned = self._step, self._limit_s, self._warned
                self._warned = warned or stalled_s > limit_s
            if stalled_s > limit_s * self.config.stall_patience:
                self._fail(step, stalled_s)
            elif stalled_s > limit_s and not warned:
                self._dump(f"step {step} has taken {stalled_s:.1f} s")
                self._on_stall(step, stalled_s)

    def _dump(self, why: str) -> None:
        for file in (self._file, sys.stderr):
            file.write(f"watchdog: {self.where}: {why}; stacks of all threads:\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)

    def _fail(self, step: int, seconds: float) -> None:
        error = TransientError(
            f"step {step} did not end within {seconds:.0f} s; stacks: {self.stacks}",
            where=self.where,
            mend="Started again, training goes on from the last checkpoint. If steps do take that "
            "long here, raise train.monitor.stall_floor_s.",
        )
        self._dump("the stage ends here")
        self._on_failure(error)
        sys.stderr.flush()
        os._exit(1)
