"""Figures of one optimizer step, summed over ranks.

Shapes: B sequences, T positions, C categories.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StepFigures:
    """What one optimizer step measured, over all ranks.

    Attributes:
        loss: Mean of the total loss over micro-batches (nats).
        parts: The same for each part of the loss.
        by_category: Mean next-token loss by category, for the categories in the batch (nats).
    """

    loss: float
    parts: dict[str, float]
    by_category: dict[str, float]


class Accumulator:
    """Sum a step's figures on one rank, then over all ranks in one all-reduce.

    Args:
        categories: Names of the categories, in the order of their ids.
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self.categories = list(categories)
        self._losses: list[Tensor] = []
        self._parts: dict[str, list[Tensor]] = {}
        self._category_C2 = torch.zeros(len(self.categories), 2, dtype=torch.float64)

    def add(self, output: Any, labels_BT: Tensor, category_B: Tensor) -> None:
        """Take in the output of a micro-batch."""
        self._losses.append(output.loss.detach())
        for name, value in output.parts.items():
            self._parts.setdefault(name, []).append(value.detach())
        counted_BT = (labels_BT >= 0).to(torch.float64)
        sums_B = (output.token_loss_BT.detach().to(torch.float64) * counted_BT).sum(dim=1).cpu()
        both_B2 = torch.stack([sums_B, counted_BT.sum(dim=1).cpu()], dim=1)
        self._category_C2.index_add_(0, category_B.cpu().long(), both_B2)

    def reduce(self, n_micro: int, device: torch.device) -> StepFigures:
        """Sum over all ranks; a collective.

        Args:
            n_micro: Micro-batches of the step over all ranks.
            device: Where the process group's tensors live.
        """
        rows = [self._losses, *(self._parts[name] for name in sorted(self._parts))]
        sums = torch.stack([torch.stack([v.double() for v in row]).sum() for row in rows])
        packed = torch.cat([sums.to(device), self._category_C2.flatten().to(device)])
        torch.distributed.all_reduce(packed)
        values = packed.tolist()
        category = torch.tensor(values[len(rows) :]).view(-1, 2).tolist()
        return StepFigures(
            loss=values[0] / n_micro,
            parts={n: values[i + 1] / n_micro for i, n in enumerate(sorted(self._parts))},
            by_category={
                name: total / count
                for name, (total, count) in zip(self.categories, category, strict=True)
                if count
            },
        )


def imbalance(load: dict[str, Tensor]) -> dict[str, float]:
    """Return the largest over the mean load of the experts, by layer; 1 is perfect balance."""
    return {
        name: float(counts.max() / counts.double().mean())
        for name, counts in load.items()
        if counts.sum() > 0
    }


def bias_ranges(model: nn.Module) -> dict[str, list[float]]:
    """Return the lowest and highest router bias, by layer."""
    end = ".gate.e_score_correction_bias"
    named = {n.removesuffix(end): b for n, b in model.named_buffers() if n.endswith(end)}
    if not named:
        return {}
    both_L2 = torch.stack([torch.stack([b.min(), b.max()]) for b in named.values()])
    return dict(zip(named, both_L2.tolist(), strict=True))


def router_entropy(load: dict[str, Tensor]) -> dict[str, float]:
    """Return the entropy of the experts' load as a share of its maximum, by layer."""
    found = {}
    for name, counts in load.items():
        if counts.sum() > 0 and counts.numel() > 1:
            p = counts.double() / counts.sum()
            found[name] = float(-torch.special.xlogy(p, p).sum()) / math.log(counts.numel())
    return found
