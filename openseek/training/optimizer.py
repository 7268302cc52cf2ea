"""AdamW that asks before it updates.

DeepSpeed reduces the gradients, computes their global norm and clips them inside its own `step`,
and then calls the optimizer it wraps. Asking there is the one moment at which the norm is known
and nothing has been changed yet, for every ZeRO stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw

from openseek.config.training import OptimizerConfig


class GuardedAdamW(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) by torch's own kernel, with a veto and state from the start.

    torch.optim.AdamW computes the same; its `step` imports torch's compiler, though (3 s).

    Args:
        groups: Parameter groups, each with its `weight_decay`.
        config: Betas, epsilon, kernel.
    """

    veto: Callable[[], bool] | None = None
    """Called before each update; True leaves weights and moments as they are."""

    def __init__(self, groups: Sequence[dict[str, Any]], config: OptimizerConfig) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.config = config

    def ensure_state(self, parameters: Iterable[torch.Tensor]) -> None:
        """Create zero moments for the tensors that will be updated."""
        for p in parameters:
            self.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }

    def set_count(self, count: int) -> None:
        """Set the number of updates made so far, for the correction of the moments' bias."""
        for state in self.state.values():
            state["step"].fill_(count)

    def count(self) -> int:
        """Return the number of updates made so far."""
        return max(int(s["step"].item()) for s in self.state.values() if s)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update, unless it is vetoed."""
        if self.veto is not None and self.veto():
            return
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            states = [self.state[p] for p in parameters]
            adamw(
                parameters,
                [p.grad for p in parameters],
                [s["exp_avg"] for s in states],
                [s["exp_avg_sq"] for s in states],
                [],
                [s["step"] for s in states],
                fused=self.config.fused,
                amsgrad=False,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=self.config.eps,
                maximize=False,
            )


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig
) -> GuardedAdamW:
    """Build AdamW with weight decay for matrices only.

    Args:
        named: The model's parameters with their names.
        config: Betas, epsilon, weight decay.
    """
    trainable = [p for _, p in named if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return GuardedAdamW([g for g in groups if g["params"]], config)
