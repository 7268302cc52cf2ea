"""The training loop of one rank.

Batches are a pure function of (mixture, step): every rank reads the same global batch and takes
the micro-batches `rank, rank + world, ...`, so that the same sums are formed whatever the number
of ranks. Random numbers are seeded from (seed, step, rank), so there is no generator to save.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from openseek.errors import TrainingError
from openseek.model import update_router_biases
from openseek.training.alarms import ExpertAlarm
from openseek.training.engine import TrainEngine
from openseek.training.failures import write_error
from openseek.training.figures import (
    Accumulator,
    StepFigures,
    bias_ranges,
    imbalance,
    router_entropy,
)
from openseek.training.guard import Guard, rewound
from openseek.training.job import Job
from openseek.training.metrics import MetricsFile
from openseek.training.replicas import check_replicas
from openseek.training.schedule import learning_rate
from openseek.training.speed import SpeedMeter
from openseek.training.state import save_state
from openseek.training.watchdog import Watchdog

log = logging.getLogger(__name__)

Report = Callable[..., None]
METRICS = "metrics.jsonl"


class Data(Protocol):
    """Where batches come from; `openseek.mixture.StageData`."""

    categories: Any

    def batch(self, step: int, batch_size: int) -> Any:
        """Return tokens_BT1, doc_BT1 and category_B of an optimizer step."""
        ...

    def document_ids(self, step: int, batch_size: int) -> Any:
        """Return the ids of the documents in the batch of a step."""
        ...


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
        engine: TrainEngine,
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
        self.guard = Guard(self.train.guard)
        self.alarm = ExpertAlarm(self.train.monitor.experts)
        self.meter = SpeedMeter(job.config, device)
        self._goes_back = False

    def load(self, progress: dict[str, Any]) -> None:
        """Take over the state of a checkpoint's `progress.json`."""
        self.guard.load(progress["guard"])
        self.alarm.load(progress["alarm"])

    def run(self, first_step: int, metrics_before: Path | None) -> None:
        """Run all steps; write `metrics.jsonl` and the final state to the job's result folder.

        When the guard wants to go back, the ranks end early, without a result: the job's
        `rewind_file` then says what to leave out.
        """
        metrics = MetricsFile(self.job.result / METRICS, metrics_before) if self.rank == 0 else None
        self.engine.model.train()
        with self._watchdog() as watchdog:
            for step in range(first_step, self.config.n_steps):
                watchdog.beat(step)
                record = self._left_out(step) or self._timed_step(step, watchdog)
                if metrics is not None:
                    metrics.write(record)
                    self._progress(record)
                if self._goes_back:
                    break
                self._maybe_checkpoint(step + 1)
            if metrics is not None:
                metrics.close()
            watchdog.beat(self.config.n_steps)
            if not self._goes_back:
                save_state(self.engine, self.config.model, self.job.result, rank=self.rank)

    def step(self, step: int) -> dict[str, Any]:
        """Make one optimizer step and return its line of `metrics.jsonl`."""
        torch.manual_seed((self.job.seed * 1_000_003 + step) * 65_536 + self.rank & (1 << 62) - 1)
        figures = self._accumulate(step)
        self._compare_replicas(step)
        reason: list[str | None] = []

        def accept(norm: float) -> bool:
            reason.append(self.guard.reason(figures.loss, norm))
            return reason[0] is None

        norm, updated = self.engine.update(self._lr(step), accept)
        if updated:
            self.guard.accept(figures.loss, norm)
        load = self._balance(updated)
        record = {
            **self._base(step, reason[0]),
            "loss": figures.loss,
            "parts": figures.parts,
            "by_category": figures.by_category,
            "grad_norm": norm if norm >= 0 else None,
            "expert_load": imbalance(load),
            "router_entropy": router_entropy(load),
            "router_bias": bias_ranges(self.engine.model),
        }
        if alarms := self.alarm.update({name: c.tolist() for name, c in load.items()}):
            record["alarms"] = alarms
            self.report("alarm", step=step, alarms=alarms)
        if not updated:
            record["documents"] = self._skip(step, str(reason[0]))
        return record

    def checkpoint(self, done: int) -> None:
        """Write the state after `done` steps and tell the parent, which publishes it."""
        folder = self.job.checkpoint(done)
        save_state(self.engine, self.config.model, folder, rank=self.rank)
        if self.rank == 0:
            (folder / METRICS).write_bytes((self.job.result / METRICS).read_bytes())
            progress = {
                "step": done,
                "tokens": done * self.config.tokens_per_step,
                "stage": self.config.stage,
                "index": self.config.index,
                "course": self.job.course,
                "world_size": self.world_size,
                "guard": self.guard.state(),
                "alarm": self.alarm.state(),
                "rewinds": [r.model_dump(mode="json") for r in self.job.rewinds],
            }
            text = json.dumps(progress, sort_keys=True)
            (folder / "progress.json").write_text(text, encoding="utf-8")
            self.report("checkpoint", step=done, folder=str(folder))

    def _timed_step(self, step: int, watchdog: Watchdog) -> dict[str, Any]:
        begin = time.perf_counter()
        record = self.step(step)
        seconds = time.perf_counter() - begin
        self.meter.add(step, seconds)
        watchdog.beat(step + 1, seconds)  # a checkpoint has a time of its own
        return record

    def _left_out(self, step: int) -> dict[str, Any] | None:
        """Return the line of a step whose data is left out; None for a step to be made."""
        found = rewound(self.job.rewinds, step)
        if found is None:
            return None
        return {
            **self._base(step, found[1]),
            "rewind": found[0],
            "loss": None,
            "parts": {},
            "by_category": {},
            "grad_norm": None,
            "expert_load": {},
            "router_entropy": {},
            "router_bias": {},
            "documents": self._documents(step),
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
        mine = range(self.rank, self.train.n_micro, self.world_size)
        for index in mine:
            rows = slice(index * self.train.micro_batch, (index + 1) * self.train.micro_batch)
            tokens_BT1 = torch.as_tensor(batch.tokens_BT1[rows]).long().to(self.device)
            doc_BT1 = torch.as_tensor(batch.doc_BT1[rows]).long().to(self.device)
            labels_BT = tokens_BT1[:, 1:].masked_fill(doc_BT1[:, 1:] != doc_BT1[:, :-1], -100)
            output = self.engine.accumulate(
                tokens_BT=tokens_BT1[:, :-1], labels_BT=labels_BT, doc_BT=doc_BT1[:, :-1]
            )
            sums.add(output, labels_BT, torch.as_tensor(batch.category_B[rows]))
            if index != mine[-1]:
                self.engine.micro_step()
        return sums.reduce(self.train.n_micro, self.device)

    def _compare_replicas(self, step: int) -> None:
        every, saves = self.train.monitor.replicas_every, self.train.checkpoint.every_steps
        # Before a checkpoint too: none may be made of weights that differ.
        if every and ((step + 1) % every == 0 or (saves and (step + 1) % saves == 0)):
            sharded = self.train.zero_stage == 3
            check_replicas(self.engine.model, step, self.device, sharded=sharded)

    def _balance(self, updated: bool) -> dict[str, torch.Tensor]:
        rate = self.config.model.balance.bias_update_rate if updated else 0.0
        return update_router_biases(self.engine.model, rate, torch.distributed.all_reduce)

    def _documents(self, step: int) -> list[str]:
        by_sequence = self.data.document_ids(step, self.train.batch_sequences)
        return list(dict.fromkeys(d for ids in by_sequence for d in ids))

    def _skip(self, step: int, reason: str) -> list[str]:
        """Record a skipped step; return its documents."""
        documents = self._documents(step)
        log.warning("step=%d skipped=%r documents=%s", step, reason, documents)
        self.report("skip", step=step, reason=reason, documents=documents)
        if self.guard.skip(step, reason):
            self._go_back(step, reason, documents)
        return documents

    def _go_back(self, step: int, reason: str, documents: list[str]) -> None:
        config = self.guard.config
        if len(self.job.rewinds) >= config.max_rewinds:
            shown = ", ".join(documents[:8]) + (", ..." if len(documents) > 8 else "")
            raise TrainingError(
                f"{reason} at step {step}, and more than {config.max_skips} steps were skipped "
                f"within the last {config.window}, after {len(self.job.rewinds)} rewinds; "
                f"documents of the last one: {shown}",
                where=f"stage {self.config.stage}",
                mend="Look at these documents, lower schedule.lr_peak, or raise "
                "train.guard.max_skips or train.guard.max_rewinds.",
            )
        self._goes_back = True
        rewinds = [*self.job.rewinds, self.guard.rewind()]
        log.warning("step=%d rewind first=%d last=%d", step, rewinds[-1].first, rewinds[-1].last)
        if self.rank == 0:
            text = json.dumps([r.model_dump(mode="json") for r in rewinds])
            self.job.rewind_file.write_text(text, encoding="utf-8")

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


def speed(loop: Loop) -> dict[str, Any]:
    """Return what depends on the machine: see `SpeedMeter.summary`."""
    return loop.meter.summary()
