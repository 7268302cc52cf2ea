"""What the parent tells its ranks: one JSON file. Light to import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openseek.artifacts.files import FileSet
from openseek.config.base import Section
from openseek.config.training import TrainStepConfig
from openseek.training.guard import Rewind

MODEL, OPTIMIZER = "model", "optimizer"  # folders of a training state
PROGRESS = "progress.json"  # where a checkpoint stands


class Job(Section):
    """One stage's training as the ranks see it; all paths are local.

    Attributes:
        config: The step's configuration.
        seed: The run's seed.
        course: Digest of configuration, seed and inputs; a checkpoint of another is refused.
        tokens: Folder of the step's input `tokens`.
        mixture: Folder of the step's input `mixture`.
        previous: Training state of the previous stage, if there is one.
        resume: Checkpoint to go on from, if there is one.
        scratch: Folder for checkpoints, logs and the result.
        threads: CPU threads of a rank.
        rewinds: Steps whose data the guard has left out so far.
        lost_parent_s: Seconds without a heartbeat of the parent after which a rank that is no
            child of it ends itself; 0: there is none to wait for.
    """

    config: TrainStepConfig
    seed: int
    course: str
    tokens: str
    mixture: str
    previous: str | None = None
    resume: str | None = None
    scratch: str
    threads: int = 1
    rewinds: tuple[Rewind, ...] = ()
    lost_parent_s: float = 0.0

    @property
    def result(self) -> Path:
        """Folder that holds the result once the ranks are done."""
        return Path(self.scratch) / "result"

    @property
    def rewind_file(self) -> Path:
        """File that the ranks leave when they ended to be started again further back."""
        return Path(self.scratch) / "rewind.json"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a checkpoint."""
        return Path(self.scratch) / f"checkpoint-{step}"


def course_digest(config: TrainStepConfig, seed: int, inputs: Mapping[str, FileSet]) -> str:
    """Digest what decides the course of a training."""
    files = {
        name: [[r.name, r.size, r.sha256] for r in files.records()]
        for name, files in inputs.items()
    }
    known = {"config": config.identity(), "seed": seed, "inputs": files}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Read where a checkpoint stands: step, identity, guard, rewinds, alarms."""
    return json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))
