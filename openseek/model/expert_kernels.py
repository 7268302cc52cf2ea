"""The routed experts: every token through its chosen experts, nothing dropped.

Shapes: S tokens, K choices a token, M rows sorted by expert, E experts, D hidden, F width. M is
S * K and the filling that rounds each expert's rows up to a multiple of TILE: oneDNN compiles a
kernel for every new shape, and without the filling every step of training brings new ones (the
demo model ran at half the speed in bf16). Filling rows carry weight zero, so they change no value
and no gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 64


class Plan(NamedTuple):
    """Which row of which expert belongs to which token.

    Attributes:
        token_M: Token of each sorted row; a filling row names token 0.
        row_N: Sorted row of each of the N = S * K (token, choice), token by token.
        counts_E: Tokens of each expert.
        sizes_E: Rows of each expert, filling included.
        offsets_E: Their cumulative sum, int32.
    """

    token_M: Tensor
    row_N: Tensor
    counts_E: Tensor
    sizes_E: Tensor
    offsets_E: Tensor


def plan(experts_SK: Tensor, n_experts: int, tile: int = TILE) -> Plan:
    """Sort the (token, choice) pairs by expert, stably, and fill each expert up to whole tiles."""
    flat_N = experts_SK.flatten()
    order_N = flat_N.argsort(stable=True)
    counts_E = torch.bincount(flat_N, minlength=n_experts)
    sizes_E = (counts_E + tile - 1) // tile * tile
    offsets_E = sizes_E.cumsum(0)
    shift_E = (offsets_E - sizes_E) - (counts_E.cumsum(0) - counts_E)
    slot_N = torch.arange(order_N.numel(), device=order_N.device) + shift_E[flat_N[order_N]]
    row_N = torch.empty_like(order_N)
    row_N[order_N] = slot_N
    token_M = order_N.new_zeros(int(offsets_E[-1]))
    token_M[slot_N] = order_N // experts_SK.shape[1]
    return Plan(token_M, row_N, counts_E, sizes_E, offsets_E.to(torch.int32))


def _sum_choices(rows_MD: Tensor, row_N: Tensor, tokens: int) -> Tensor:
    """Add up the K rows of each token, in the order of its choices."""
    choices_SKD = rows_MD.index_select(0, row_N).view(tokens, -1, rows_MD.shape[1])
    if choices_SKD.shape[1] == 1:
        return choices_SKD[:, 0]
    total_SD = choices_SKD[:, 0] + choices_SKD[:, 1]  # adding views: 1.5x faster than sum(dim=1)
    for k in range(2, choices_SKD.shape[1]):
        total_SD += choices_SKD[:, k]
    return total_SD


class _Grouped(torch.autograd.Function):
    """Dispatch, feed-forward and combination in one, with grouped matrix products.

    Weights multiply the intermediate rows (width F), not the output (width D). Gradients of the
    dispatch gather instead of scattering, and no zero-filled gradient of a whole parameter is made.
    """

    @staticmethod
    def forward(
        ctx: Any, x_SD: Tensor, weights_M: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, p: Plan
    ) -> Tensor:
        rows_MD = x_SD.index_select(0, p.token_M)
        gate_up = F.grouped_mm(rows_MD, gate_up_E2FD.transpose(1, 2), offs=p.offsets_E)
        gate, up = gate_up.chunk(2, dim=-1)
        inner_MF = F.silu(gate).mul_(up)
        weighted_MF = inner_MF * weights_M.unsqueeze(1)
        out_MD = F.grouped_mm(weighted_MF, down_EDF.transpose(1, 2), offs=p.offsets_E)
        ctx.save_for_backward(x_SD, weights_M, gate_up_E2FD, down_EDF, gate_up, inner_MF)
        ctx.plan = p
        return _sum_choices(out_MD, p.row_N, x_SD.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_SD, weights_M, gate_up_E2FD, down_EDF, gate_up, inner_MF = ctx.saved_tensors
        p, offsets, weights_M1 = ctx.plan, ctx.plan.offsets_E, weights_M.unsqueeze(1)
        grad_MD = grads[0].index_select(0, p.token_M)
        grad_down = F.grouped_mm(grad_MD.t(), inner_MF * weights_M1, offs=offsets)
        grad_MF = F.grouped_mm(grad_MD, down_EDF, offs=offsets)
        grad_weights = (grad_MF * inner_MF).sum(dim=-1)
        grad_MF.mul_(weights_M1)
        grad_gate_up = torch.empty_like(gate_up)
        (gate, up), (grad_gate, grad_up) = gate_up.chunk(2, -1), grad_gate_up.chunk(2, -1)
        torch.mul(grad_MF, F.silu(gate), out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad_MF.mul_(up), gate, grad_input=grad_gate)
        grad_gate_up_weight = F.grouped_mm(
            grad_gate_up.t(), x_SD.index_select(0, p.token_M), offs=offsets
        )
        grad_rows = F.grouped_mm(grad_gate_up, gate_up_E2FD, offs=offsets)
        grad_x = _sum_choices(grad_rows, p.row_N, x_SD.shape[0])
        return grad_x, grad_weights, grad_gate_up_weight, grad_down, None


def grouped(
    x_SD: Tensor, weights_SK: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, p: Plan
) -> Tensor:
    """Return each token's weighted sum over its experts: the fast kernel."""
    weights_N = weights_SK.flatten().to(x_SD.dtype)
    weights_M = weights_N.new_zeros(p.token_M.numel()).index_copy(0, p.row_N, weights_N)
    return _Grouped.apply(x_SD, weights_M, gate_up_E2FD, down_EDF, p)


def loop(
    x_SD: Tensor, weights_SK: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, p: Plan
) -> Tensor:
    """Do the same expert by expert, with torch's own gradients: the reference."""
    rows_MD = x_SD.index_select(0, p.token_M)
    outs = []
    for e, rows in enumerate(torch.split(rows_MD, p.sizes_E.tolist())):
        gate, up = F.linear(rows, gate_up_E2FD[e]).chunk(2, dim=-1)
        outs.append(F.linear(F.silu(gate) * up, down_EDF[e]))
    out_SKD = torch.cat(outs).index_select(0, p.row_N).view(*weights_SK.shape, x_SD.shape[1])
    return (out_SKD * weights_SK.to(x_SD.dtype).unsqueeze(-1)).sum(dim=1)


KERNELS = {"grouped": grouped, "loop": loop}
