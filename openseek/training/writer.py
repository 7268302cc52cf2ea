"""Checkpoints on the ranks' side: written by a thread while training goes on, or by the loop.

For the thread the loop copies the state to host memory. At most one copy is held: the next
checkpoint waits until the one before is on disk. A folder gets its name once it is whole, and only
then does the parent hear of it, so a kill at any moment leaves the checkpoints before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from openseek.errors import TransientError
from openseek.training.job import PROGRESS


@dataclass(frozen=True)
class Checkpoint:
    """What is written.

    Attributes:
        folder: Where; appears whole.
        state: Writes the training state into a folder.
        progress: Goes into `progress.json`; `step` is the number of steps done.
        metrics: `metrics.jsonl`, to which later steps append.
        metrics_bytes: How much of it belongs to this checkpoint.
    """

    folder: Path
    state: Callable[[Path], None]
    progress: dict[str, Any]
    metrics: Path
    metrics_bytes: int


class CheckpointWriter:
    """Write one checkpoint at a time; a context manager around the loop.

    Args:
        written: Called with step and folder of each checkpoint that is whole, in the thread that
            wrote it.
        asynchronous: Write in a thread; else `submit` writes, in its caller's thread, since the
            state may be a collective.
    """

    def __init__(self, written: Callable[[int, Path], None], *, asynchronous: bool = True) -> None:
        self._written = written
        self._asynchronous = asynchronous
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._job: Future[None] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Wait for the write in flight; an error of the loop is not replaced by one of a write."""
        self._pool.shutdown(wait=True)
        if error is None:
            self.drain()

    def submit(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; waits for the one before.

        Raises:
            TransientError: The one before, or with `asynchronous` off this one, cannot be written.
        """
        self.drain()
        if self._asynchronous:
            self._job = self._pool.submit(self._write, checkpoint)
        else:
            self._write(checkpoint)

    def check(self) -> None:
        """Raise what the last write failed with, if it did; waits for nothing."""
        if self._job is not None and self._job.done():
            self.drain()

    def drain(self) -> None:
        """Wait for the write in flight and raise what it failed with."""
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def _write(self, checkpoint: Checkpoint) -> None:
        folder, step = checkpoint.folder, int(checkpoint.progress["step"])
        staged = folder.with_name(f".{folder.name}.partial")
        try:
            checkpoint.state(staged)
            with checkpoint.metrics.open("rb") as f:
                (staged / checkpoint.metrics.name).write_bytes(f.read(checkpoint.metrics_bytes))
            text = json.dumps(checkpoint.progress, sort_keys=True)
            (staged / PROGRESS).write_text(text, encoding="utf-8")
            staged.rename(folder)
        except OSError as error:
            shutil.rmtree(staged, ignore_errors=True)
            raise TransientError(
                f"the checkpoint after step {step} cannot be written: {error}",
                where=str(folder),
                mend="Make room there, or choose another place (the store's scratch, or "
                "runtime.launch.folder); started again, training goes on from the last checkpoint.",
            ) from error
        except BaseException:  # a rank is lost while the state is gathered
            shutil.rmtree(staged, ignore_errors=True)
            raise
        self._written(step, folder)
