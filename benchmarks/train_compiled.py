"""The same as `speed`, ours under torch.compile (minutes of compilation at the first run)."""

from __future__ import annotations

import train_speed
from harness import Row


def measure(runs: int) -> list[Row]:
    """Run everybody in turns."""
    return train_speed.measure(runs, "openseek-compiled")
