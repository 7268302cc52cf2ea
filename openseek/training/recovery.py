"""Bad steps of a stage: which are left out, skipped, and when the ranks go back.

The decision is the guard's (`openseek.training.guard`); here are its consequences for a job.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

from openseek.errors import TrainingError
from openseek.training.guard import Guard, rewound
from openseek.training.job import Job

log = logging.getLogger(__name__)


class Data(Protocol):
    """Where batches come from; `openseek.mixture.StageData`."""

    categories: Any

    def batch(self, step: int, batch_size: int) -> Any:
        """Return tokens_BT1, doc_BT1 and category_B of an optimizer step."""
        ...

    def document_ids(self, step: int, batch_size: int) -> Any:
        """Return the ids of the documents in the batch of a step."""
        ...


class Recovery:
    """What a rank does about bad steps.

    Args:
        job: What is trained, with the steps left out so far.
        data: Names the documents of a step.
        rank: This process.
        report: Sends events to the parent.

    Attributes:
        guard: Decides.
        goes_back: Whether the ranks must end, to be started again further back.
    """

    def __init__(self, job: Job, data: Data, rank: int, report: Callable[..., None]) -> None:
        self.job = job
        self.guard = Guard(job.config.train.guard)
        self.goes_back = False
        self._data = data
        self._rank = rank
        self._report = report

    def left_out(self, step: int) -> dict[str, Any] | None:
        """Return why, rewind and documents of a step that is left out; None: it is to be made."""
        found = rewound(self.job.rewinds, step)
        if found is None:
            return None
        return {"skipped": found[1], "rewind": found[0], "documents": self._documents(step)}

    def skip(self, step: int, reason: str) -> list[str]:
        """Record a skipped step, which may be one too many; return its documents.

        Raises:
            TrainingError: There were too many, and the stage has gone back often enough.
        """
        documents = self._documents(step)
        log.warning("step=%d skipped=%r documents=%s", step, reason, documents)
        self._report("skip", step=step, reason=reason, documents=documents)
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
                where=f"stage {self.job.config.stage}",
                mend="Look at these documents, lower schedule.lr_peak, or raise "
                "train.guard.max_skips or train.guard.max_rewinds.",
            )
        self.goes_back = True
        rewinds = [*self.job.rewinds, self.guard.rewind()]
        log.warning("step=%d rewind first=%d last=%d", step, rewinds[-1].first, rewinds[-1].last)
        if self._rank == 0:
            text = json.dumps([r.model_dump(mode="json") for r in rewinds])
            self.job.rewind_file.write_text(text, encoding="utf-8")

    def _documents(self, step: int) -> list[str]:
        by_sequence = self._data.document_ids(step, self.job.config.train.batch_sequences)
        return list(dict.fromkeys(d for ids in by_sequence for d in ids))
