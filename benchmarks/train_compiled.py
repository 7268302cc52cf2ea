"""Our decoder layers under torch.compile, as `train.compile` does it, and without, in bf16.

The first run compiles (minutes, one process); later ones find the compiled kernels in a cache.
"""

from __future__ import annotations

import train_speed
from harness import Row


def measure(runs: int) -> list[Row]:
    """Run both in turns."""
    return train_speed.compare("openseek-compiled", "bf16", ("openseek",), runs)
