"""Checkpoints on the parent's side: publish beside the training, keep the last ones, fall back."""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from openseek.artifacts.files import Output
from openseek.errors import ConfigError, CorruptArtifactError
from openseek.training.job import read_progress

log = logging.getLogger(__name__)


class CheckpointPublisher:
    """Commit checkpoints in a thread while the ranks go on.

    Args:
        out: The step's output.
        keep: Newest checkpoints to keep.
        reach: Steps that the guard may have to go back: a checkpoint at least this far behind the
            last one is kept too, and the one that will take its place.
    """

    def __init__(self, out: Output, keep: int, reach: int = 0) -> None:
        self._out = out
        self._keep = keep
        self._reach = reach
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._jobs: list[Future[None]] = []

    def publish(self, step: int, folder: Path) -> None:
        """Hand over a finished checkpoint folder; raises what an earlier commit failed with."""
        for job in self._jobs:
            if job.done():
                job.result()
        self._jobs = [job for job in self._jobs if not job.done()]
        self._jobs.append(self._pool.submit(self._commit, step, folder))

    def drain(self) -> None:
        """Wait for the commits handed over so far and raise what one failed with."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()

    def finish(self) -> None:
        """Wait for all commits and raise what one failed with."""
        self._pool.shutdown(wait=True)
        for job in self._jobs:
            job.result()

    def abandon(self) -> None:
        """Start no further commit; one that is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _commit(self, step: int, folder: Path) -> None:
        progress = read_progress(folder)
        self._out.commit_checkpoint(
            step, folder, {k: progress[k] for k in ("step", "tokens", "course", "world_size")}
        )
        shutil.rmtree(folder, ignore_errors=True)
        log.info("checkpoint step=%d committed", step)
        for old in outdated(self._out.checkpoints(), self._keep, self._reach):
            self._out.discard_checkpoint(old)


def outdated(steps: list[int], keep: int, reach: int = 0) -> list[int]:
    """Return which checkpoints can go; see `CheckpointPublisher`.

    Args:
        steps: The steps of all checkpoints, ascending.
        keep: Newest ones to keep.
        reach: Steps that the guard may have to go back.
    """
    if not steps:
        return []
    far = [s for s in steps if s <= steps[-1] - reach]
    anchor = far[-1] if far else steps[0]
    heir = [s for s in steps if s > anchor][:1]  # the next anchor, once it is far enough behind
    kept = {*steps[-keep:], anchor, *heir}
    return [s for s in steps if s not in kept]


def rewind(out: Output, first: int) -> None:
    """Discard the checkpoints after a step, newest first: they are of a course that was left."""
    for step in reversed(out.checkpoints()):
        if step > first:
            out.discard_checkpoint(step)


def newest(out: Output, course: str) -> Path | None:
    """Return the newest checkpoint that verifies, or None.

    A damaged one is discarded, and the one before it is taken.

    Args:
        out: The step's output.
        course: Digest of configuration, seed and inputs.

    Raises:
        ConfigError: The checkpoints are of another configuration (a folder that was used before).
    """
    for step in reversed(out.checkpoints()):
        try:
            folder, meta = out.load_checkpoint(step)
        except (CorruptArtifactError, json.JSONDecodeError, FileNotFoundError) as error:
            log.warning("checkpoint step=%d damaged, falling back: %s", step, error)
            out.discard_checkpoint(step)
            continue
        if meta.get("course") != course:
            raise ConfigError(
                f"the checkpoint of step {step} belongs to another configuration, seed or input",
                where=str(folder),
                mend="Choose another output folder, or remove this one to train afresh.",
            )
        return folder
    return None
