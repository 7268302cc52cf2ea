"""Who watches a run from inside its process: the command line's live display."""

from __future__ import annotations

from typing import Any, Protocol

from openseek.pipeline.run import Outcome


class Observer(Protocol):
    """Is told what happens, in the run's own thread."""

    def step_started(self, name: str) -> None:
        """A step begins."""
        ...

    def step_progress(
        self, name: str, done: float, total: float, unit: str, info: dict[str, Any]
    ) -> None:
        """A step got further."""
        ...

    def step_finished(self, name: str, outcome: Outcome) -> None:
        """A step is done, or was found done."""
        ...


class Silent:
    """Watch nothing."""

    def step_started(self, name: str) -> None:
        """Ignore."""

    def step_progress(
        self, name: str, done: float, total: float, unit: str, info: dict[str, Any]
    ) -> None:
        """Ignore."""

    def step_finished(self, name: str, outcome: Outcome) -> None:
        """Ignore."""


_current: Observer = Silent()


def observe(observer: Observer) -> None:
    """Let `observer` watch the runs of this process."""
    global _current
    _current = observer


def observer() -> Observer:
    """Return who is watching."""
    return _current
