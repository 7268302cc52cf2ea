"""Evaluate every k-th checkpoint of a stage while it is trained.

`following` starts `python -m openseek.pipeline.follow JOB.json`: a process of the lowest priority
that looks for new checkpoints in the store, copies the weights of every k-th one before they are
discarded, and evaluates them one after another. Training knows nothing of it; whatever happens to
it is a warning. It ends when it is told to and has nothing left to do, or when the run is gone.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openseek.artifacts.files import Json
from openseek.errors import OpenSeekError

if TYPE_CHECKING:
    from openseek.pipeline.run import Pipeline, Ref

log = logging.getLogger(__name__)

POLL_S = 0.5
LOWEST_PRIORITY = 19


class Follower:
    """The process that follows one stage."""

    def __init__(self, pipeline: Pipeline, stage: str, folder: str, key: str) -> None:
        config = pipeline.config
        home = pipeline.store.scratch / "follow"
        for left in home.glob("*-*"):
            if not Path(f"/proc/{left.name.rpartition('-')[2]}").exists():
                shutil.rmtree(left, ignore_errors=True)  # its run was killed
        self.scratch = home / f"{key[:16]}-{os.getpid()}"
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.stop_file = self.scratch / "stop"
        job = {
            "config": config.model_dump(mode="json"), "root": pipeline.store.root, "stage": stage,
            "folder": folder, "key": key, "scratch": str(self.scratch), "parent": os.getpid(),
            "stride": config.train.checkpoint.every_steps * config.evaluation.every_checkpoints,
        }  # fmt: skip
        path = self.scratch / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        with (self.scratch / "log").open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openseek.pipeline.follow", str(path)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def stop(self) -> None:
        """Tell it that no further checkpoint will come."""
        self.stop_file.touch()

    def wait(self) -> None:
        """Wait until all that it found is evaluated; a failure is a warning."""
        self.stop()
        if code := self._process.wait():
            text = (self.scratch / "log").read_text(errors="replace").strip()
            log.warning("follower=failed code=%d %s", code, text[-2000:])
        shutil.rmtree(self.scratch, ignore_errors=True)

    def kill(self) -> None:
        """End it at once: the stage failed."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)


@contextmanager
def following(pipeline: Pipeline, stage: str, folder: str, key: str) -> Iterator[None]:
    """Have the checkpoints of a stage evaluated while the body trains it, if that is asked for."""
    config = pipeline.config
    if not (config.evaluation.every_checkpoints and config.train.checkpoint.every_steps):
        yield
        return
    try:
        follower = Follower(pipeline, stage, folder, key)
    except OSError as error:
        log.warning("follower=not_started error=%s", error)
        yield
        return
    try:
        yield
    except BaseException:
        follower.kill()
        raise
    follower.stop()
    pipeline.followers.append(follower)


def checkpoint_refs(pipeline: Pipeline, trained: dict[str, str]) -> dict[str, Ref]:
    """Return the evaluations of checkpoints that belong to these trainings.

    Args:
        pipeline: The run.
        trained: Stage -> key of its train step.
    """
    from openseek.pipeline.run import Ref

    prefix = f"refs/{pipeline.config.name}/checkpoint-"
    found = {}
    for entry in pipeline.store.backend.list(f"refs/{pipeline.config.name}"):
        if not entry.path.startswith(prefix):
            continue
        body: Json = json.loads(pipeline.store.backend.read(entry.path)[0])
        if body.get("train") in trained.values():
            name = body["node"]
            found[name] = Ref(name, body["step"], body["key"], body["content_digest"])
    return dict(sorted(found.items()))


class _Copier(threading.Thread):
    """Copies the weights of new checkpoints; ends the process when its parent is gone."""

    def __init__(self, job: Json, store: Any) -> None:
        super().__init__(daemon=True)
        self.job, self.store = job, store
        self.found: queue.Queue[tuple[int, Path] | None] = queue.Queue()
        self.seen: set[int] = set()

    def run(self) -> None:
        """Look for checkpoints until told to stop, and once more then."""
        stop = Path(self.job["scratch"]) / "stop"
        while True:
            last = stop.exists()
            try:
                self.look()
            except (OpenSeekError, OSError, ValueError) as error:
                log.warning("follower=look error=%s", error)
            if last:
                self.found.put(None)
            if os.getppid() != self.job["parent"]:
                os._exit(1)
            threading.Event().wait(POLL_S)

    def look(self) -> None:
        """Copy what is new."""
        from openseek.pipeline.checkpoints import fetch_checkpoint

        prefix = f"{self.job['folder']}/checkpoints/"
        ends = (e.path for e in self.store.backend.list(prefix))
        steps = {
            int(p.removeprefix(prefix).split("/")[0]) for p in ends if p.endswith("/_COMMIT.json")
        }
        for step in sorted(steps - self.seen):
            self.seen.add(step)
            if step % self.job["stride"] == 0:
                target = Path(self.job["scratch"]) / str(step)
                folder = fetch_checkpoint(self.store, self.job["folder"], step, target)
                self.found.put((step, folder))


def follow(job: Json) -> int:
    """Evaluate checkpoints until there is nothing left; returns how many."""
    from openseek.config.pipeline import PipelineConfig
    from openseek.pipeline.checkpoints import Checkpoint, evaluate_checkpoint, upstream_of
    from openseek.pipeline.run import Pipeline

    config = PipelineConfig.model_validate(job["config"])
    settings = config.evaluation.model_copy(
        update={
            "every_checkpoints": 0, "processes": 1, "device": config.evaluation.device or "cpu",
        }
    )  # fmt: skip
    runtime = config.runtime.model_copy(update={"store": job["root"]})
    pipeline = Pipeline(config.model_copy(update={"evaluation": settings, "runtime": runtime}))
    copier = _Copier(job, pipeline.store)
    copier.start()
    done = 0
    while (entry := copier.found.get()) is not None:
        step, folder = entry
        name = f"checkpoint-{job['stage']}-{step}"
        outcome = evaluate_checkpoint(
            pipeline, Checkpoint(name, folder), upstream_of(pipeline), name
        )
        body = {**outcome.ref.to_json(), "train": job["key"], "checkpoint": step}
        pipeline.store.write_ref(config.name, name, body)
        shutil.rmtree(folder, ignore_errors=True)
        done += 1
    return done


def main() -> None:
    """Follow the job's stage."""
    os.nice(LOWEST_PRIORITY)
    logging.basicConfig(level=logging.WARNING)
    job: Json = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    follow(job)


if __name__ == "__main__":
    main()
