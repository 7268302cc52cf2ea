"""Decide, before the update, whether a step is to be skipped, and when to go back.

All ranks see the same all-reduced figures and so decide alike. The decision depends on earlier
figures only, and the state is part of a checkpoint: a resumed run skips the same steps.

Going back is a pure function too. The stage is trained again from a checkpoint before the first
skipped step, with the data of the steps `first` to `last` left out; a step that is left out keeps
its place in the schedule and makes no update. The steps before `first` come out bit by bit as they
did, so the result is the same whichever checkpoint is taken, and a run that is killed on the way
comes to the same decision again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from openseek.config.base import Section
from openseek.config.training import GuardConfig


class Rewind(Section):
    """Steps whose data is left out.

    Attributes:
        first: The first of them.
        last: The last of them.
        reasons: Step -> why it was skipped, for those that were.
    """

    first: int
    last: int
    reasons: dict[int, str] = Field(default_factory=dict)


def rewound(rewinds: Sequence[Rewind], step: int) -> tuple[int, str] | None:
    """Return which rewind, from 1, leaves out a step, and why; None for a step to be trained."""
    found = [(n, r) for n, r in enumerate(rewinds, start=1) if r.first <= step <= r.last]
    for n, rewind in found:
        if step in rewind.reasons:
            return n, rewind.reasons[step]
    return (found[0][0], "near a skipped step") if found else None


class Guard:
    """Watch loss and gradient norm.

    Args:
        config: Thresholds.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self._losses: deque[float] = deque(maxlen=config.window)
        self._norms: deque[float] = deque(maxlen=config.window)
        self._skipped: list[tuple[int, str]] = []

    def reason(self, loss: float, grad_norm: float) -> str | None:
        """Say why a step with these figures must be skipped, or None when it is fine."""
        # DeepSpeed reports the norm of a gradient with NaN or Inf as -1.
        if not math.isfinite(loss):
            return "loss is not finite"
        if not math.isfinite(grad_norm) or grad_norm < 0:
            return "gradient is not finite"
        if self._spikes(self._losses, loss):
            return "loss spike"
        if self._spikes(self._norms, grad_norm):
            return "gradient spike"
        return None

    def accept(self, loss: float, grad_norm: float) -> None:
        """Take the figures of an update that was made into the window."""
        self._losses.append(loss)
        self._norms.append(grad_norm)

    def skip(self, step: int, reason: str) -> bool:
        """Record a skipped step; True when there were too many within the window."""
        first = step - self.config.window
        self._skipped = [(s, why) for s, why in self._skipped if s > first] + [(step, reason)]
        return len(self._skipped) > self.config.max_skips

    def rewind(self) -> Rewind:
        """Return what is to be left out after too many skips."""
        steps = [step for step, _ in self._skipped]
        return Rewind(
            first=max(0, min(steps) - self.config.rewind_margin),
            last=max(steps),
            reasons=dict(self._skipped),
        )

    def state(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "skipped": [list(s) for s in self._skipped],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])
        self._skipped = [(int(step), str(why)) for step, why in state["skipped"]]

    def _spikes(self, window: deque[float], value: float) -> bool:
        if not self.config.sigma or 2 * len(window) < self.config.window:
            return False
        mean = math.fsum(window) / len(window)
        variance = math.fsum((x - mean) ** 2 for x in window) / len(window)
        return value > mean + self.config.sigma * math.sqrt(variance)
