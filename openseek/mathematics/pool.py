"""Many comparisons of answers at once, each with its own clock.

A thread waits for each process of algebra; no signal is used, so that it works in any thread of any
program. What hangs is killed by its own limits, counted, and the next pair gets a fresh process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from openseek.mathematics.answers import equal
from openseek.mathematics.equality import CPU_S, TIMEOUT_S, Algebra


@dataclass(frozen=True)
class Comparison:
    """Whether two answers are equal.

    Attributes:
        equal: They are.
        undecided: Algebra was killed over them, so they count as unequal.
    """

    equal: bool
    undecided: bool = False


class MathPool:
    """Compare pairs of answers in processes that can be killed.

    Args:
        workers: Processes at most; each is started when it is first needed.
        cpu_s: Processor time of one expression, in seconds.
        wait_s: Waiting time of one expression, in seconds.
    """

    def __init__(self, workers: int = 1, *, cpu_s: int = CPU_S, wait_s: float = TIMEOUT_S) -> None:
        self._limits = (cpu_s, wait_s)
        self._threads = ThreadPoolExecutor(max(1, workers), "mathematics")
        self._mine = threading.local()
        self._all: list[Algebra] = []

    def compare(self, pairs: Iterable[tuple[str, str]]) -> list[Comparison]:
        """Compare pairs, in their order."""
        return list(self._threads.map(self._one, pairs))

    def close(self) -> None:
        """Kill the processes."""
        self._threads.shutdown(wait=True)
        for algebra in self._all:
            algebra.close()

    def __enter__(self) -> MathPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _one(self, pair: tuple[str, str]) -> Comparison:
        if not hasattr(self._mine, "algebra"):
            self._mine.algebra = Algebra(*self._limits)
            self._all.append(self._mine.algebra)
        algebra: Algebra = self._mine.algebra
        before = algebra.killed
        found = equal(*pair, algebra.equal)
        return Comparison(found, undecided=not found and algebra.killed > before)
