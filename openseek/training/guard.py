"""Decide, before the update, whether a step is to be skipped.

All ranks see the same all-reduced figures and so decide alike. The decision depends on earlier
figures only, and the state is part of a checkpoint: a resumed run skips the same steps.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from openseek.config.training import GuardConfig


class Guard:
    """Watch loss and gradient norm.

    Args:
        config: Thresholds.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self._losses: deque[float] = deque(maxlen=config.window)
        self._norms: deque[float] = deque(maxlen=config.window)
        self._skipped: list[int] = []

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

    def skip(self, step: int) -> bool:
        """Record a skipped step; True when there were too many within the window."""
        first = step - self.config.window
        self._skipped = [s for s in self._skipped if s > first] + [step]
        return len(self._skipped) > self.config.max_skips

    def state(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "skipped": self._skipped,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])
        self._skipped = list(state["skipped"])

    def _spikes(self, window: deque[float], value: float) -> bool:
        if not self.config.sigma or 2 * len(window) < self.config.window:
            return False
        mean = math.fsum(window) / len(window)
        variance = math.fsum((x - mean) ** 2 for x in window) / len(window)
        return value > mean + self.config.sigma * math.sqrt(variance)
