"""The training loop of one rank.

Batches are a pure function of (mixture, step): every rank reads the same global batch and takes
the micro-batches `rank, rank + world, ...`, so that the same sums are formed whatever the number
of ranks. Random numbers are seeded from (seed, step, rank), so there is no generator to save.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from openseek.training.alarms import ExpertAlarm
from openseek.training.batches import cut
from openseek.training.ds_engine import Engine
from openseek.training.failures import write_error
from openseek.training.figures import Accumulator, StepFigures, imbalance, router_entropy
from openseek.training.job import Job
from openseek.training.metrics import MetricsFile
from openseek.training.recovery import Data, Recovery
from openseek.training.replicas import check_replicas
from openseek.training.schedule import learning_rate
from openseek.training.speed import SpeedMeter
from openseek.training.state import save_state, take_snapshot, write_snapshot
from openseek.training.watchdog import Watchdog
from openseek.training.writer import Checkpoint, CheckpointWriter

Report = Callable[..., None]
METRICS = "metrics.jsonl"


class Loop:
    """Train one stage from `first_step` to its end, or until the guard wants to go back.

    Args:
        job: What to train.
        engine: Model and optimizer, with the weights to start from.
        data: Batches.
        device: This rank's device.
        rank: This process.
        world_size: Number of ranks.
        report: Sends events to the parent; only rank 0's are sent.
    """

    def __init__(
        self,
        job: Job,
        engine: Engine,
        data: Data,
        *,
        device: torch.device,
        rank: int,
        world_size: int,
        report: Report,
    ) -> None:
        self.job = job
        self.config = job.config
        self.train = job.config.train
        self.engine = engine
        self.data = data
        self.device = device
        self.rank = rank
        self.world_size = world_size
        self.report = report
        self.recovery = Recovery(job, data, rank, report)
        self.alarm = ExpertAlarm(self.train.monitor.experts)
        self.meter = SpeedMeter(job.config, device)
        self.writer = CheckpointWriter(
            lambda step, folder: report("checkpoint", step=step, folder=str(folder)),
            asynchronous=self.train.checkpoint.asynchronous,
        )

    def load(self, progress: dict[str, Any]) -> None:
        """Take over the state of a checkpoint's `progress.json`."""
        self.recovery.guard.load(progress["guard"])
        self.alarm.load(progress["alarm"])

    def run(self, first_step: int, metrics_before: Path | None) -> None:
        """Run all steps; write `metrics.jsonl` and the final state to the job's result folder.

        When the guard wants to go back, the ranks end early, without a result: the job's
        `rewind_file` then says what to leave out.
        """
        metrics = MetricsFile(self.job.result / METRICS, metrics_before) if self.rank == 0 else None
        self.engine.model.train()
        with self._watchdog() as watchdog, self.writer:
            for step in range(first_step, self.config.n_steps):
                watchdog.beat(step)
                self.writer.check()
                record = self._left_out(step) or self._timed_step(step, watchdog)
                if metrics is not None:
                    metrics.write(record)
                    self._progress(record)
                if self.recovery.goes_back:
                    break
                self._maybe_checkpoint(step + 1)
            if metrics is not None:
                metrics.close()
            watchdog.beat(self.config.n_steps)
            self.writer.drain()
            if not self.recovery.goes_back:
                save_state(self.engine, self.config.model, self.job.result, rank=self.rank)

    def step(self, step: int) -> dict[str, Any]:
        """Make one optimizer step and return its line of `metrics.jsonl`."""
        torch.manual_seed((self.job.seed * 1_000_003 + step) * 65_536 + self.rank & (1 << 62) - 1)
        figures = self._accumulate(step)
        self._compare_replicas(step)
        reason: list[str | None] = []

        def accept(norm: float) -> bool:
            reason.append(self.recovery.guard.reason(figures.loss, norm))
            return reason[0] is None

        norm, updated = self.engine.update(self._lr(step), accept)
        if updated:
            self.recovery.guard.accept(figures.loss, norm)
        load = self._balance(updated)
        record = {
            **self._base(step, reason[0]),
            "loss": figures.loss,
            "parts": figures.parts,
            "by_category": figures.by_category,
            "grad_norm": norm if norm >= 0 else None,
            "expert_load": imbalance(load),
            "router_entropy": router_entropy(load),
            "router_bias": self.engine.bias_ranges(),
        }
        if alarms := self.alarm.update({name: c.tolist() for name, c in load.items()}):
            record["alarms"] = alarms
            self.report("alarm", step=step, alarms=alarms)
        if not updated:
            record["documents"] = self.recovery.skip(step, str(reason[0]))
        return record

    def checkpoint(self, done: int) -> None:
        """Save the state after `done` steps; the writer tells the parent, which publishes it."""
        self.writer.drain()  # before the copy: one at most is held
        model, folder = self.config.model, self.job.checkpoint(done)
        if self.train.checkpoint.asynchronous:
            snapshot = take_snapshot(self.engine, rank=self.rank)
            if snapshot is None:
                return
            state = partial(write_snapshot, snapshot, model)
        else:
            state = partial(save_state, self.engine, model, rank=self.rank)
            if self.rank:
                state(folder)
                return
        progress = {
            "step": done,
            "tokens": done * self.config.tokens_per_step,
            "stage": self.config.stage,
            "index": self.config.index,
            "course": self.job.course,
            "world_size": self.world_size,
            "guard": self.recovery.guard.state(),
            "alarm": self.alarm.state(),
            "rewinds": [r.model_dump(mode="json") for r in self.job.rewinds],
        }
        metrics = self.job.result / METRICS
        size = metrics.stat().st_size
        self.writer.submit(Checkpoint(folder, state, progress, metrics, size))

    def _timed_step(self, step: int, watchdog: Watchdog) -> dict[str, Any]:
        begin = time.perf_counter()
        record = self.step(step)
        seconds = time.perf_counter() - begin
        self.meter.add(step, seconds)
        watchdog.beat(step + 1, seconds)  # a checkpoint has a time of its own
        return record

    def _left_out(self, step: int) -> dict[str, Any] | None:
        """Return the line of a step whose data is left out; None for a step to be made."""
        found = self.recovery.left_out(step)
        if found is None:
            return None
        return {
            **self._base(step, None),
            "loss": None,
            "parts": {},
            "by_category": {},
            "grad_norm": None,
            "expert_load": {},
            "router_entropy": {},
            "router_bias": {},
            **found,
        }

    def _base(self, step: int, skipped: str | None) -> dict[str, Any]:
        tokens = (step + 1) * self.config.tokens_per_step
        return {"step": step, "tokens": tokens, "lr": self._lr(step), "skipped": skipped}

    def _lr(self, step: int) -> float:
        config = self.config
        return learning_rate(config.schedule, step, config.n_steps, config.tokens_per_step)

    def _maybe_checkpoint(self, done: int) -> None:
        every = self.train.checkpoint.every_steps
        if every and done % every == 0 and done < self.config.n_steps:
            self.checkpoint(done)

    def _accumulate(self, step: int) -> StepFigures:
        batch = self.data.batch(step, self.train.batch_sequences)
        sums = Accumulator(self.data.categories)
        mine = self.engine.share(self.train.n_micro)
        self.engine.run(cut(batch, mine, self.train.micro_batch, self.device), sums)
        return sums.reduce(self.train.n_micro, self.device)

    def _compare_replicas(self, step: int) -> None:
        every, saves = self.train.monitor.replicas_every, self.train.checkpoint.every_steps
        # Before a checkpoint too: none may be made of weights that differ.
        if every and ((step + 1) % every == 0 or (saves and (step + 1) % saves == 0)):
            sharded = self.train.zero_stage == 3
            group = self.engine.replica_group
            check_replicas(self.engine.model, step, self.device, sharded=sharded, group=group)

    def _balance(self, updated: bool) -> dict[str, torch.Tensor]:
        rate = self.config.model.balance.bias_update_rate if updated else 0.0
        return self.engine.balance(rate)

    def _watchdog(self) -> Watchdog:
        scratch = Path(self.job.scratch)

        def on_stall(step: int, seconds: float) -> None:
            self.report("stall", step=step, seconds=seconds, stacks=str(scratch))

        return Watchdog(
            self.train.monitor,
            scratch / f"rank{self.rank}.stacks.txt",
            where=f"stage {self.config.stage}, rank {self.rank}",
            on_stall=on_stall,
            on_failure=lambda error: write_error(scratch, self.rank, error),
        )

    def _progress(self, record: dict[str, Any]) -> None:
        if "rewind" in record:
            return
        self.report(
            "progress",
            done=record["tokens"],
            total=self.config.n_steps * self.config.tokens_per_step,
            step=record["step"],
            loss=record["loss"],
            lr=record["lr"],
            grad_norm=record["grad_norm"],
            **self.meter.recent(),
        )
