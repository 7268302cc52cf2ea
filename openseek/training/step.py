"""The step `train-{stage}`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet
from openseek.config.training import TrainStepConfig
from openseek.errors import ConfigError
from openseek.mixture import materialise
from openseek.training import launch
from openseek.training.checkpoints import CheckpointPublisher, newest, rewind
from openseek.training.guard import Rewind
from openseek.training.job import MODEL, OPTIMIZER, Job, course_digest, read_progress
from openseek.training.metrics import summarise

SHOWN = ("step", "loss", "lr", "grad_norm", "tokens_per_s", "mfu", "memory_bytes")


def train(ctx: StepContext[TrainStepConfig]) -> dict[str, Any]:
    """Train one stage; goes on from the newest checkpoint of an earlier attempt.

    Inputs: `tokens`, `mixture`, and `previous`, the output of the stage before, for all stages but
    the first: its weights, moments and router biases are taken over, the schedule is fresh.

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
    config = ctx.config
    scratch = ctx.out.scratch / f"train-{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    # Before anything else: it loads its libraries while the inputs are fetched.
    spawner = launch.acquire(ctx.runtime.threads_per_rank)
    guard = config.train.guard
    reach = guard.window + guard.rewind_margin
    publisher = CheckpointPublisher(ctx.out, config.train.checkpoint.keep, reach)
    try:
        job: Job | None = _job(ctx, scratch)
        devices = spawner.start()["devices"]
        world_size = launch.choose_world_size(ctx.runtime, config.train.n_micro, devices)
        while job is not None:
            last = job
            ctx.log.info("stage=%s ranks=%d resume=%s", config.stage, world_size, job.resume)
            path = _written(job)
            launch.supervise(spawner, path, world_size, _reporter(ctx, publisher))
            publisher.drain()
            job = _rewound(ctx, job)
        publisher.finish()
    except ConfigError:
        launch.release(spawner)
        raise
    except BaseException:
        publisher.abandon()
        spawner.kill()
        _log_stacks(ctx, scratch)
        raise
    launch.release(spawner)
    return _publish(ctx, last, scratch)


def _follow_tokenizer(ctx: StepContext[TrainStepConfig]) -> StepContext[TrainStepConfig]:
    """Fill in the model's vocabulary from the token index, where the configuration left it open."""
    index = json.loads(ctx.inputs["tokens"].local("index.json").read_text(encoding="utf-8"))
    try:
        model = ctx.config.model.with_vocab(index["vocab_size"])
    except ValueError as error:
        raise ConfigError(str(error), where="model.vocab_size") from None
    return replace(ctx, config=ctx.config.model_copy(update={"model": model}))


def _job(ctx: StepContext[TrainStepConfig], scratch: Path) -> Job:
    course = course_digest(ctx.config, ctx.seed, ctx.inputs)
    resume = newest(ctx.out, course)
    previous = ctx.inputs.get("previous")
    return Job(
        config=ctx.config,
        seed=ctx.seed,
        course=course,
        rewinds=read_progress(resume)["rewinds"] if resume else (),
        tokens=str(materialise(ctx.inputs["tokens"], scratch / "tokens")),
        mixture=str(materialise(ctx.inputs["mixture"], scratch / "mixture")),
        previous=str(_state(previous, scratch / "previous")) if previous is not None else None,
        resume=str(resume) if resume else None,
        scratch=str(scratch),
        threads=ctx.runtime.threads_per_rank,
    )


def _written(job: Job) -> Path:
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(job.model_dump_json(), encoding="utf-8")
    return path


def _rewound(ctx: StepContext[TrainStepConfig], job: Job) -> Job | None:
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
    scratch = Path(job.scratch).parent / f"rewind-{len(rewinds)}"
    update = {"rewinds": tuple(rewinds), "resume": str(resume) if resume else None}
    return job.model_copy(update={**update, "scratch": str(scratch)})


def _log_stacks(ctx: StepContext[TrainStepConfig], scratch: Path) -> None:
    """Log the stacks that watchdogs wrote; scratch does not outlive the attempt."""
    for path in sorted(scratch.rglob("rank*.stacks.txt")):
        if text := path.read_text(encoding="utf-8", errors="replace"):
            ctx.log.error("%s\n%s", path.name, text)


def _state(previous: FileSet, folder: Path) -> Path:
    for pattern in (f"{MODEL}/*", f"{OPTIMIZER}/*"):
        materialise(previous, folder, pattern)
    return folder


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

    return on_event


def _publish(ctx: StepContext[TrainStepConfig], job: Job, scratch: Path) -> dict[str, Any]:
    from openseek.model import flops_per_token

    config = ctx.config
    summary = summarise(job.result / "metrics.jsonl")
    machine = json.loads((Path(job.scratch) / "speed.json").read_text(encoding="utf-8"))
    flops = flops_per_token(config.model, config.sequence_length)
    for path in sorted(p for p in job.result.rglob("*") if p.is_file()):
        ctx.out.add(path.relative_to(job.result).as_posix(), path)
    shutil.rmtree(scratch, ignore_errors=True)
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
