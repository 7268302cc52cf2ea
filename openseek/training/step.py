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
from openseek.training.checkpoints import CheckpointPublisher, newest
from openseek.training.job import MODEL, OPTIMIZER, Job, course_digest
from openseek.training.metrics import summarise


def train(ctx: StepContext[TrainStepConfig]) -> dict[str, Any]:
    """Train one stage; goes on from the newest checkpoint of an earlier attempt.

    Inputs: `tokens`, `mixture`, and `previous`, the output of the stage before, for all stages but
    the first: its weights, moments and router biases are taken over, the schedule is fresh.

    Output: `model/`, `optimizer/` (see `openseek.training.state`) and `metrics.jsonl`, one line for
    each optimizer step. On the same number of ranks the bytes do not depend on interruptions.

    Returns:
        The summary of `metrics.jsonl` (see `metrics.summarise`), and of this attempt: tokens_per_s,
        flops_per_s, seconds, world_size, peak_rss_bytes, resumed_from.

    Raises:
        TrainingError: A rank died, training diverged, or inputs do not fit each other.
        ConfigError: The batch cannot be shared by the ranks.
    """
    ctx = _follow_tokenizer(ctx)
    config = ctx.config
    scratch = ctx.out.scratch / f"train-{os.getpid()}"
    scratch.mkdir(parents=True, exist_ok=True)
    # Before anything else: it loads its libraries while the inputs are fetched.
    spawner = launch.acquire(ctx.runtime.threads_per_rank)
    publisher = CheckpointPublisher(ctx.out, config.train.checkpoint.keep)
    try:
        job = _job(ctx, scratch)
        path = scratch / "job.json"
        path.write_text(job.model_dump_json(), encoding="utf-8")
        devices = spawner.start()["devices"]
        world_size = launch.choose_world_size(ctx.runtime, config.train.n_micro, devices)
        ctx.log.info("stage=%s ranks=%d resume=%s", config.stage, world_size, job.resume)
        launch.supervise(spawner, path, world_size, _reporter(ctx, publisher))
        publisher.finish()
    except ConfigError:
        launch.release(spawner)
        raise
    except BaseException:
        publisher.abandon()
        spawner.kill()
        raise
    launch.release(spawner)
    return _publish(ctx, job)


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
        tokens=str(materialise(ctx.inputs["tokens"], scratch / "tokens")),
        mixture=str(materialise(ctx.inputs["mixture"], scratch / "mixture")),
        previous=str(_state(previous, scratch / "previous")) if previous is not None else None,
        resume=str(resume) if resume else None,
        scratch=str(scratch),
        threads=ctx.runtime.threads_per_rank,
    )


def _state(previous: FileSet, folder: Path) -> Path:
    for pattern in (f"{MODEL}/*", f"{OPTIMIZER}/*"):
        materialise(previous, folder, pattern)
    return folder


def _reporter(ctx: StepContext[TrainStepConfig], publisher: CheckpointPublisher) -> Any:
    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "progress":
            figures = {k: event[k] for k in ("step", "loss", "lr", "tokens_per_s")}
            ctx.progress(event["done"], event["total"], "tokens", **figures)
        elif event["event"] == "checkpoint":
            publisher.publish(event["step"], Path(event["folder"]))
        elif event["event"] == "start":
            ctx.log.info("first_step=%d setup_s=%.1f", event["step"], event["setup_s"])

    return on_event


def _publish(ctx: StepContext[TrainStepConfig], job: Job) -> dict[str, Any]:
    from openseek.model import flops_per_token

    config = ctx.config
    summary = summarise(job.result / "metrics.jsonl")
    machine = json.loads((Path(job.scratch) / "speed.json").read_text(encoding="utf-8"))
    flops = flops_per_token(config.model, config.sequence_length)
    for path in sorted(p for p in job.result.rglob("*") if p.is_file()):
        ctx.out.add(path.relative_to(job.result).as_posix(), path)
    shutil.rmtree(job.scratch, ignore_errors=True)
    return {
        "stage": config.stage,
        "index": config.index,
        "tokens": config.n_steps * config.tokens_per_step,
        **summary,
        "tokens_per_s": machine["tokens_per_s"],
        "flops_per_token": flops,
        "flops_per_s": flops * machine["tokens_per_s"],
        "seconds": machine["seconds"],
        "updates": machine["updates"],
        "world_size": machine["world_size"],
        "device": machine["device"],
        "cpu_seconds": machine["cpu_seconds"],
        "peak_rss_bytes": machine["peak_rss_bytes"],
        "resumed_from": machine["first_step"],
    }
