"""Experts shared by a group of ranks: every rank holds a part of them and gets the tokens it needs.

Rank r of a group of R holds the experts `r * E / R` to `(r + 1) * E / R`, so a full tensor is the
parts one after the other. The router, its losses and its biases stay as they are: only what runs
between "these tokens want these experts" and "here are their sums" is replaced.

Two exchanges of token rows a layer (to the experts and back), each the other's gradient. No token
is dropped, so the number of rows differs from step to step.

Shapes: S tokens of this rank, K choices, N = S * K, R ranks of the group, E experts, L = E / R
experts of this rank, M rows received, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openseek.model.expert_kernels import plan
from openseek.model.moe import Experts, MoE


@dataclass(frozen=True)
class ExpertGroup:
    """The ranks that hold one set of experts between them.

    Attributes:
        group: Their process group.
        rank: This process within it.
        size: Number of ranks; divides the number of experts.
    """

    group: Any
    rank: int
    size: int

    def part(self, full: Tensor) -> Tensor:
        """Return this rank's experts of a tensor [E, ...], as a view."""
        return full.chunk(self.size)[self.rank]

    def whole(self, part: Tensor) -> Tensor:
        """Gather a tensor [E, ...] from all parts; a collective over the group."""
        parts = [torch.empty_like(part) for _ in range(self.size)]
        torch.distributed.all_gather(parts, part.contiguous(), group=self.group)
        return torch.cat(parts)


class _Exchange(torch.autograd.Function):
    """All-to-all of rows with a number of rows for each rank; its gradient goes the way back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _all_to_all(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _all_to_all(grads[0], ctx.received, ctx.sent, ctx.group), None, None, None


def _exchange(rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
    out: Tensor = _Exchange.apply(rows, sent, received, group)
    return out


def _all_to_all(rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
    out = rows.new_empty(sum(received), *rows.shape[1:])
    torch.distributed.all_to_all_single(out, rows.contiguous(), received, sent, group=group)
    return out


class _Spread(torch.autograd.Function):
    """Copy each token once for each of its choices, sorted by expert. Gathers in both ways."""

    @staticmethod
    def forward(ctx: Any, x_SD: Tensor, order_N: Tensor, row_N: Tensor) -> Tensor:
        ctx.row_N, ctx.tokens = row_N, x_SD.shape[0]
        return x_SD.index_select(0, order_N // (order_N.numel() // x_SD.shape[0]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _sum_choices(grads[0], ctx.row_N, ctx.tokens), None, None


class _Combine(torch.autograd.Function):
    """Add up the rows of each token: the transpose of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, rows_ND: Tensor, order_N: Tensor, row_N: Tensor, tokens: int) -> Tensor:
        ctx.token_N = order_N // (order_N.numel() // tokens)
        return _sum_choices(rows_ND, row_N, tokens)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0].index_select(0, ctx.token_N), None, None, None


def _sum_choices(rows_ND: Tensor, row_N: Tensor, tokens: int) -> Tensor:
    return rows_ND.index_select(0, row_N).view(tokens, -1, rows_ND.shape[1]).sum(dim=1)


class ParallelExperts(nn.Module):
    """This rank's part of a layer's experts, called as `Experts` is.

    Args:
        source: The layer's experts, all of them; their weights are copied and may be freed.
        group: The ranks that share them.
    """

    def __init__(self, source: Experts, group: ExpertGroup) -> None:
        super().__init__()
        self.group = group
        self.n_experts = source.gate_up_proj.shape[0]
        self.gate_up_proj = nn.Parameter(group.part(source.gate_up_proj.detach()).clone())
        self.down_proj = nn.Parameter(group.part(source.down_proj.detach()).clone())
        self.kernel: Callable[..., Tensor] = source.kernel

    def forward(
        self, x_SD: Tensor, experts_SK: Tensor, weights_SK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of each token's experts, and this rank's tokens of each expert.

        Args:
            x_SD: Tokens of this rank.
            experts_SK: Global ids of the chosen experts.
            weights_SK: Their weights.
        """
        flat_N = experts_SK.flatten()
        order_N = flat_N.argsort(stable=True)
        row_N = torch.empty_like(order_N)
        row_N[order_N] = torch.arange(order_N.numel(), device=order_N.device)
        counts_E = torch.bincount(flat_N, minlength=self.n_experts)
        sent, received, experts_M = self._plan(counts_E)
        group = self.group.group
        spread: Tensor = _Spread.apply(x_SD, order_N, row_N)
        weights_N1 = weights_SK.flatten()[order_N].unsqueeze(1)
        rows = _exchange(spread, sent, received, group)
        weights = _exchange(weights_N1, sent, received, group)
        back = _exchange(self._run(rows, weights, experts_M), received, sent, group)
        y_SD: Tensor = _Combine.apply(back, order_N, row_N, x_SD.shape[0])
        return y_SD, counts_E

    def _plan(self, counts_E: Tensor) -> tuple[list[int], list[int], Tensor]:
        """Exchange counts: rows for each rank, rows from each rank, the local expert of each."""
        counts_RL = counts_E.view(self.group.size, -1)
        theirs_RL = torch.empty_like(counts_RL)
        torch.distributed.all_to_all_single(theirs_RL, counts_RL, group=self.group.group)
        both = torch.stack([counts_RL.sum(dim=1), theirs_RL.sum(dim=1)]).tolist()
        local_N = torch.arange(counts_RL.shape[1], device=counts_E.device).repeat(self.group.size)
        return both[0], both[1], local_N.repeat_interleave(theirs_RL.flatten())

    def _run(self, rows_MD: Tensor, weights_M1: Tensor, experts_M: Tensor) -> Tensor:
        """Run this rank's experts; a rank that got no row runs one of zeros for its gradients."""
        n_rows = experts_M.numel()
        if n_rows == 0:
            rows_MD, weights_M1 = F.pad(rows_MD, (0, 0, 0, 1)), F.pad(weights_M1, (0, 0, 0, 1))
            experts_M = experts_M.new_zeros(1)
        p = plan(experts_M.unsqueeze(1), self.gate_up_proj.shape[0])
        return self.kernel(rows_MD, weights_M1, self.gate_up_proj, self.down_proj, p)[:n_rows]


def shard_experts(model: nn.Module, group: ExpertGroup) -> Iterator[tuple[str, nn.Parameter]]:
    """Replace the experts of every MoE layer by this rank's part of them.

    Args:
        model: The whole model, the same on all ranks.
        group: The ranks that share one set of experts.

    Yields:
        Name and parameter of each part; names stay as they were.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, MoE):
            parts = ParallelExperts(layer.experts, group)
            layer.experts = parts  # type: ignore[assignment]
            for child, parameter in parts.named_parameters():
                yield f"{name}.experts.{child}", parameter
