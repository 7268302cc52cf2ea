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
from openseek.training.engine import TrainEngine
from openseek.training.figures import Accumulator, StepFigures, imbalance, router_entropy
from openseek.training.guard import Guard
from openseek.training.job import Job
from openseek.training.metrics import MetricsFile
from openseek.training.schedule import learning_rate
from openseek.training.state import save_state

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
    """Train one stage from `first_step` to its end.

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
        self.step_seconds: list[float] = []

    def run(self, first_step: int, metrics_before: Path | None) -> None:
        """Run all steps; write `metrics.jsonl` and the final state to the job's result folder."""
        metrics = MetricsFile(self.job.result / METRICS, metrics_before) if self.rank == 0 else None
        every = self.train.checkpoint.every_steps
        self.engine.model.train()
        for step in range(first_step, self.config.n_steps):
            begin = time.perf_counter()
            record = self.step(step)
            self.step_seconds.append(time.perf_counter() - begin)
            if metrics is not None:
                metrics.write(record)
                self._progress(record)
            done = step + 1
            if every and done % every == 0 and done < self.config.n_steps:
                self.checkpoint(done)
        if metrics is not None:
            metrics.close()
        save_state(self.engine, self.config.model, self.job.result, rank=self.rank)

    def step(self, step: int) -> dict[str, Any]:
        """Make one optimizer step and return its line of `metrics.jsonl`."""
        torch.manual_seed((self.job.seed * 1_000_003 + step) * 65_536 + self.rank & (1 << 62) - 1)
        figures = self._accumulate(step)
        lr = learning_rate(
            self.config.schedule, step, self.config.n_steps, self.config.tokens_per_step
        )
        reason: list[str | None] = []

        def accept(norm: float) -> bool:
            reason.append(self.guard.reason(figures.loss, norm))
            return reason[0] is None

        norm, updated = self.engine.update(lr, accept)
        if updated:
            self.guard.accept(figures.loss, norm)
        load = self._balance(updated)
        record = {
            "step": step,
            "tokens": (step + 1) * self.config.tokens_per_step,
            "lr": lr,
            "loss": figures.loss,
            "parts": figures.parts,
            "by_category": figures.by_category,
            "grad_norm": norm if norm >= 0 else None,
            "expert_load": imbalance(load),
            "router_entropy": router_entropy(load),
            "skipped": reason[0],
        }
        if not updated:
            record["documents"] = self._skipped(step, str(reason[0]))
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
            }
            text = json.dumps(progress, sort_keys=True)
            (folder / "progress.json").write_text(text, encoding="utf-8")
            self.report("checkpoint", step=done, folder=str(folder))

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

    def _balance(self, updated: bool) -> dict[str, torch.Tensor]:
        rate = self.config.model.balance.bias_update_rate if updated else 0.0
        return update_router_biases(self.engine.model, rate, torch.distributed.all_reduce)

    def _skipped(self, step: int, reason: str) -> list[str]:
        by_sequence = self.data.document_ids(step, self.train.batch_sequences)
        documents = list(dict.fromkeys(d for ids in by_sequence for d in ids))
        log.warning("step=%d skipped=%r documents=%s", step, reason, documents)
        if self.guard.skip(step):
            shown = ", ".join(documents[:8]) + (", ..." if len(documents) > 8 else "")
            raise TrainingError(
                f"{reason} at step {step}, and more than {self.guard.config.max_skips} steps were "
                f"skipped within the last {self.guard.config.window}; documents of the last one: "
                f"{shown}",
                where=f"stage {self.config.stage}",
                mend="Look at these documents, lower schedule.lr_peak, or raise "
                "train.guard.max_skips.",
            )
        return documents

    def _progress(self, record: dict[str, Any]) -> None:
        recent = self.step_seconds[-20:]
        self.report(
            "progress",
            done=record["tokens"],
            total=self.config.n_steps * self.config.tokens_per_step,
            step=record["step"],
            loss=record["loss"],
            lr=record["lr"],
            tokens_per_s=len(recent) * self.config.tokens_per_step / sum(recent),
        )


def speed(loop: Loop) -> dict[str, float]:
    """Return tokens per second over the steps of this process, without the first two."""
    counted = loop.step_seconds[2:] or loop.step_seconds
    if not counted:
        return {"tokens_per_s": 0.0, "seconds": 0.0}
    return {
        "tokens_per_s": len(counted) * loop.config.tokens_per_step / sum(counted),
        "seconds": sum(loop.step_seconds),
    }
