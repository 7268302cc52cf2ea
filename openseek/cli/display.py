"""The live view of a run: a line a step, with rate and ETA, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from openseek.pipeline.run import Outcome
from openseek.units import format_count, format_seconds

PLAIN_EVERY_S = 10.0


class LiveDisplay:
    """Observe a run and print it; plain lines when stderr is not a terminal."""

    def __init__(self, n_steps: int) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._n_steps = n_steps
        self._n_done = 0
        self._started = 0.0
        self._said = 0.0
        self._task: Any = None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}% {task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> LiveDisplay:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def step_started(self, name: str) -> None:
        """Show a step that begins."""
        self._started = self._said = time.monotonic()
        if self._task is not None:
            self._bar.remove_task(self._task)
        label = f"[{self._n_done + 1}/{self._n_steps}] {name}"
        self._task = self._bar.add_task(label, total=None, note="")

    def step_progress(
        self, name: str, done: float, total: float, unit: str, info: dict[str, Any]
    ) -> None:
        """Show how far a step is."""
        note = self._note(done, total, unit, info)
        if self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said > PLAIN_EVERY_S:
            self._said = now
            percent = 100 * done / total if total else 100
            self.console.print(f"  {name:<26} {percent:3.0f}% {note}")

    def step_finished(self, name: str, outcome: Outcome) -> None:
        """Leave a line for a finished step."""
        self._n_done += 1
        mark = "=" if outcome.state == "cached" else "+"
        self.console.print(
            f"{mark} {name:<26} {outcome.state:<7} {format_seconds(outcome.seconds):>7}  "
            f"{describe(outcome)}"
        )

    def _note(self, done: float, total: float, unit: str, info: dict[str, Any]) -> str:
        spent = time.monotonic() - self._started
        rate = done / spent if spent > 0 else 0.0
        left = (total - done) / rate if rate > 0 else 0.0
        figures = " ".join(f"{k}={_figure(v)}" for k, v in info.items())
        return (
            f"{format_count(done)}/{format_count(total)} {unit} "
            f"{format_count(rate)}/s ETA {format_seconds(left)} {figures}"
        )


def _figure(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return format_count(value) if abs(value) >= 1000 else f"{value:.4g}"


def describe(outcome: Outcome) -> str:
    """Say in a few words what a step made."""
    metrics = outcome.manifest.metrics
    parts = []
    if "documents_out" in metrics:
        parts.append(
            f"{metrics.get('documents_in', 0):,} -> {metrics['documents_out']:,} documents"
        )
    if isinstance(metrics.get("tokens"), int):
        parts.append(f"{format_count(metrics['tokens'])} tokens")
    if isinstance(metrics.get("loss_last"), float):
        parts.append(f"loss {metrics['loss_last']:.3f}")
    if isinstance(metrics.get("bpb"), dict) and "all" in metrics["bpb"]:
        parts.append(f"{metrics['bpb']['all']:.3f} bits per byte")
    return ", ".join(parts)
