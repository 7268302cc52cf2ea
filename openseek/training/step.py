"""The step `train-{stage}`."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet
from openseek.config.training import TrainStepConfig
from openseek.errors import ConfigError
from openseek.mixture import materialise
from openseek.training import launch
from openseek.training.checkpoints import CheckpointPublisher, newest, rewind
from openseek.training.failures import RankError
from openseek.training.guard import Rewind
from openseek.training.job import Job, course_digest, read_progress
from openseek.training.metrics import summarise
from openseek.training.start import FILES, start_files

SHOWN = ("step", "loss", "lr", "grad_norm", "tokens_per_s", "mfu", "memory_bytes")


def train(ctx: StepContext[TrainStepConfig]) -> dict[str, Any]:
    """Train one stage; goes on from the newest checkpoint of an earlier attempt.

    Inputs: `tokens`, `mixture`, and `previous`, the output of the stage before, for all stages but
    the first: its weights, moments and router biases are taken over, the schedule is fresh.
    `previous` may also be a folder of weights, native or Hugging Face's; moments are fresh then.

    Output: `model/`, `optimizer/` (see `openseek.training.state`) and `metrics.jsonl`, one line for
    each optimizer step. On the same number of ranks the bytes do not depend on interruptions. When
    the guard goes back, the ranks are started again from an earlier checkpoint.

    Returns:
        The summary of `metrics.jsonl` (see `metrics.summarise`), and of this attempt: tokens_per_s,
        flops_per_s, mfu, peak_flops, speed_curve, seconds, world_size, peak_rss_bytes,
        resumed_from.

    Raises:
        TrainingError: A rank died, training diverged, ranks' weights differ, or inputs do not fit
            each other.
        TransientError: A step did not end in time.
        ConfigError: The batch cannot be shared by the ranks.
    """
    ctx = _follow_tokenizer(ctx)
    if "previous" not in ctx.inputs and (start := start_files(ctx.config)):
        ctx = replace(ctx, inputs={**ctx.inputs, "previous": start})
    home = launch_folder(ctx)
    try:
        for attempt in itertools.count():
            try:
                return _publish(ctx, _attempt(ctx, home, attempt))
            except RankError as error:
                if attempt >= ctx.runtime.launch.max_failures:
                    raise
                ctx.log.warning("attempt=%d failed, going on from the last: %s", attempt, error)
    finally:
        if ctx.runtime.launch.folder:
            shutil.rmtree(home, ignore_errors=True)
    raise AssertionError("unreachable")


def launch_folder(ctx: StepContext[TrainStepConfig]) -> Path:
    """Return the folder that this process gives its ranks, on all nodes."""
    if not ctx.runtime.launch.folder:
        return ctx.out.scratch / f"train-{os.getpid()}"
    shared = Path(ctx.runtime.launch.folder).absolute()
    shared.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"train-{ctx.config.stage}-", dir=shared))


def _attempt(ctx: StepContext[TrainStepConfig], home: Path, attempt: int) -> Job:
    config = ctx.config
    scratch = home / f"attempt-{attempt}"
    scratch.mkdir(parents=True, exist_ok=True)
    # Before anything else: it loads its libraries while the inputs are fetched.
    spawner = launch.acquire(ctx.runtime)
    guard = config.train.guard
    reach = guard.window + guard.rewind_margin
    publisher = CheckpointPublisher(ctx.out, config.train.checkpoint.keep, reach)
    try:
        job: Job | None = _job(ctx, home, scratch)
        devices = spawner.start()["devices"]
        world_size = launch.choose_world_size(ctx.runtime, config.train, devices)
        while job is not None:
            last = job
            ctx.log.info("stage=%s ranks=%d resume=%s", config.stage, world_size, job.resume)
            path = _written(job)
            launch.supervise(spawner, path, world_size, _reporter(ctx, publisher))
            publisher.drain()
            job = _rewound(ctx, job, home)
        publisher.finish()
    except ConfigError:
        launch.release(spawner)
        raise
    except RankError:
        spawner.kill()
        publisher.finish()  # a checkpoint that is complete is where the next attempt goes on
        raise
    except BaseException:
        publisher.abandon()
        spawner.kill()
        _log_stacks(ctx, scratch)
        raise
    launch.release(spawner)
    return last


def _follow_tokenizer(ctx: StepContext[TrainStepConfig]) -> StepContext[TrainStepConfig]:
    """Fill in the model's vocabulary from the token index, where the configuration left it open."""
    index = json.loads(ctx.inputs["tokens"].local("index.json").read_text(encoding="utf-8"))
    try:
        model = ctx.config.model.with_vocab(index["vocab_size"])
    except ValueError as error:
        raise ConfigError(str(error), where="model.vocab_size") from None
    return replace(ctx, config=ctx.config.model_copy(update={"model": model}))


def _job(ctx: StepContext[TrainStepConfig], home: Path, scratch: Path) -> Job:
    course = course_digest(ctx.config, ctx.seed, ctx.inputs)
    resume = newest(ctx.out, course)
    previous = ctx.inputs.get("previous")
    launch_config = ctx.runtime.launch
    place = _Place(home, shared=bool(launch_config.folder))
    return Job(
        config=ctx.config,
        seed=ctx.seed,
        course=course,
        rewinds=read_progress(resume)["rewinds"] if resume else (),
        tokens=place.inputs(ctx.inputs["tokens"], "tokens"),
        mixture=place.inputs(ctx.inputs["mixture"], "mixture"),
        previous=place.inputs(previous, "previous", FILES) if previous is not None else None,
        resume=place.folder(resume, scratch / "resume") if resume else None,
        scratch=str(scratch),
        threads=ctx.runtime.threads_per_rank,
        lost_parent_s=launch_config.lost_parent_s if launch_config.kind == "torchrun" else 0.0,
    )


def _written(job: Job) -> Path:
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.model_dump_json(), encoding="utf-8")
    return path


def _rewound(ctx: StepContext[TrainStepConfig], job: Job, home: Path) -> Job | None:
    """Return the job that goes on from further back; None when the stage is done."""
    if not job.rewind_file.is_file():
        return None
    rewinds = [Rewind(**r) for r in json.loads(job.rewind_file.read_text(encoding="utf-8"))]
    first, last = rewinds[-1].first, rewinds[-1].last
    rewind(ctx.out, first)
    resume = newest(ctx.out, job.course)
    ctx.log.warning(
        "rewind number=%d first=%d last=%d reasons=%s resume=%s",
        len(rewinds), first, last, rewinds[-1].reasons, resume,
    )  # fmt: skip
    scratch = Path(f"{job.scratch}-rewind-{len(rewinds)}")
    place = _Place(home, shared=bool(ctx.runtime.launch.folder))
    update = {
        "rewinds": tuple(rewinds),
        "resume": place.folder(resume, scratch / "resume") if resume else None,
        "scratch": str(scratch),
    }
    return job.model_copy(update=update)


def _log_stacks(ctx: StepContext[TrainStepConfig], scratch: Path) -> None:
    """Log the stacks that watchdogs wrote; scratch does not outlive the attempt."""
    for path in sorted(scratch.rglob("rank*.stacks.txt")):
        if text := path.read_text(encoding="utf-8", errors="replace"):
            ctx.log.error("%s\n%s", path.name, text)


@dataclass(frozen=True)
class _Place:
    """Where ranks find their inputs: links, or copies in a folder that all nodes see."""

    home: Path
    shared: bool

    def inputs(self, files: FileSet, name: str, patterns: Sequence[str] = ("*",)) -> str:
        folder = self.home / name
        for pattern in patterns:
            materialise(files, folder, pattern)
        for link in folder.rglob("*") if self.shared else ():
            if link.is_symlink() and not link.resolve().is_relative_to(self.home.parent):
                staged = link.with_name(f".{link.name}.copy")
                shutil.copyfile(link.resolve(), staged)
                staged.replace(link)
        return str(folder)

    def folder(self, source: Path, target: Path) -> str:
        if not self.shared or source.resolve().is_relative_to(self.home.parent):
            return str(source)
        shutil.copytree(source, target)
        return str(target)


def _reporter(ctx: StepContext[TrainStepConfig], publisher: CheckpointPublisher) -> Any:
    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            figures = {k: event[k] for k in SHOWN}
            ctx.progress(event["done"], event["total"], "tokens", **figures)
        elif event["event"] == "checkpoint":
            publisher.publish(event["step"], Path(event["folder"]))
        elif event["event"] in ("skip", "alarm", "stall"):
            ctx.log.warning("%s", " ".join(f"{k}={v}" for k, v in event.items()))
        elif event["event"] == "start":
            ctx.log.info("first_step=%d setup_s=%.1f", event["step"], event["setup_s"])
        elif event["event"] == "waiting":
            ctx.log.warning("start the ranks with: %s", event["command"])

    return on_event


def _publish(ctx: StepContext[TrainStepConfig], job: Job) -> dict[str, Any]:
    from openseek.model import flops_per_token

    config = ctx.config
    summary = summarise(job.result / "metrics.jsonl")
    machine = json.loads((Path(job.scratch) / "speed.json").read_text(encoding="utf-8"))
    flops = flops_per_token(config.model, config.sequence_length)
    for path in sorted(p for p in job.result.rglob("*") if p.is_file()):
        ctx.out.add(path.relative_to(job.result).as_posix(), path)
    shutil.rmtree(Path(job.scratch).parent, ignore_errors=True)
    return {
        "stage": config.stage,
        "index": config.index,
        "tokens": config.n_steps * config.tokens_per_step,
        **summary,
        "tokens_per_s": machine["tokens_per_s"],
        "flops_per_token": flops,
        "flops_per_s": flops * machine["tokens_per_s"],
        "peak_flops": machine["peak_flops"],
        "mfu": machine["mfu"],
        "speed_curve": machine["speed_curve"],
        "seconds": machine["seconds"],
        "updates": machine["updates"],
        "world_size": machine["world_size"],
        "device": machine["device"],
        "cpu_seconds": machine["cpu_seconds"],
        "peak_rss_bytes": machine["peak_rss_bytes"],
        "resumed_from": machine["first_step"],
    }
