"""How fast a rank trains: tokens/s, share of the peak (MFU), memory. Nothing here is reproducible.

    MFU = tokens/s x FLOPs per token (analytic, see `openseek.model.flops_per_token`) / peak of all
    ranks. The peak is configured, or that of a square matrix product timed on all ranks at once.

Source: MFU as in PaLM (arXiv 2204.02311), appendix B.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from openseek.config.training import TrainStepConfig
from openseek.model import flops_per_token

_SIZE = {"cpu": 768}  # side of the matrix product; other devices need a larger one to be busy
_RUNS = 4


def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Time a square matrix product and return the best FLOP/s; 25 to 50 ms on a CPU core."""
    side = _SIZE.get(device.type, 8192)
    # A device may run faster on constant data; a generator of its own leaves training's alone.
    numbers = torch.Generator(device).manual_seed(0)
    a = torch.rand(side, side, generator=numbers, device=device).to(dtype)
    out = torch.empty_like(a)
    best_s = float("inf")
    for _ in range(_RUNS):
        begin = time.perf_counter()
        torch.mm(a, a, out=out)
        out[0, 0].item()  # waits for the device, whichever it is
        best_s = min(best_s, time.perf_counter() - begin)
    return 2.0 * side**3 / best_s


def rss_bytes() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def memory_bytes(device: torch.device) -> int:
    """Return the memory in use: the device's, or this process's on a CPU."""
    if device.type == "cpu":
        return rss_bytes()
    module: Any = getattr(torch, device.type)
    return int(module.memory_allocated(device))


class SpeedMeter:
    """Measure one rank; making one is a collective.

    Args:
        config: What is trained.
        device: This rank's device.
    """

    def __init__(self, config: TrainStepConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.step_seconds: list[float] = []
        self.flops_per_token = flops_per_token(config.model, config.sequence_length)
        self.peak_flops = self._peak()
        self._curve: list[tuple[int, float, int]] = []

    def add(self, step: int, seconds: float) -> None:
        """Take in the time of a step."""
        self.step_seconds.append(seconds)
        self._curve.append((step, seconds, memory_bytes(self.device)))

    def recent(self) -> dict[str, float]:
        """Return tokens_per_s, mfu and memory_bytes (of this rank) over the last 20 steps."""
        return {**self._rate(self.step_seconds[-20:]), "memory_bytes": float(self._curve[-1][2])}

    def summary(self) -> dict[str, Any]:
        """Return tokens_per_s and mfu without the first two steps, peak_flops, seconds, a curve."""
        return {
            **self._rate(self.step_seconds[2:] or self.step_seconds),
            "seconds": sum(self.step_seconds),
            "peak_flops": self.peak_flops,
            "speed_curve": self._thinned(),
        }

    def _thinned(self, points: int = 100) -> list[dict[str, Any]]:
        width = -(-len(self._curve) // points) or 1
        parts = [self._curve[i : i + width] for i in range(0, len(self._curve), width)]
        return [
            {
                "step": part[-1][0],
                **self._rate([seconds for _, seconds, _ in part]),
                "memory_bytes": max(memory for _, _, memory in part),
            }
            for part in parts
        ]

    def _rate(self, seconds: list[float]) -> dict[str, float]:
        if not seconds:
            return {"tokens_per_s": 0.0, "mfu": 0.0}
        tokens_per_s = len(seconds) * self.config.tokens_per_step / sum(seconds)
        mfu = tokens_per_s * self.flops_per_token / self.peak_flops
        return {"tokens_per_s": tokens_per_s, "mfu": mfu}

    def _peak(self) -> float:
        train = self.config.train
        dtype = torch.bfloat16 if train.precision == "bf16" else torch.float32
        peak = train.monitor.peak_flops or gemm_peak(self.device, dtype)
        total = torch.tensor([peak], dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total.item())
