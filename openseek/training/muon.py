"""Muon: hidden matrices move along the orthogonal factor of their momentum.

    m <- momentum * m + g;  u = g + momentum * m  (Nesterov)
    w <- (1 - lr * decay) * w - lr * 0.2 * sqrt(max(rows, columns)) * orthogonal(u)

The factor gives an update the root mean square of AdamW's, so that both take one learning rate.

ZeRO cuts a flat buffer of weights anywhere, also within a matrix. An update needs a whole matrix,
so each one is put together over the ranks that share it, computed by those that own some of it, and
cut again. Nothing but this gathering knows about ZeRO: see `Fragment`.

Source: K. Jordan, https://kellerjordan.github.io/posts/muon/ (Newton-Schulz of degree 5 with its
coefficients); arXiv 2502.16982 (scale, weight decay). Different here: experts are matrices each,
and so are their gate and up projections, which one parameter holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SCALE = 0.2
HIDDEN = ("self_attn.", "mlp.", "eh_proj.")
"""Where matrices of hidden layers are; the rest (embedding, output layer) is not moved by Muon."""


@dataclass(frozen=True)
class Fragment:
    """The part of one parameter in a flat buffer of this rank.

    Attributes:
        shape: Shape of the parameter.
        blocks: Matrices that its last but one dimension stacks (2: gate and up projection).
        start: First element within the flattened parameter.
        offset: First element within the buffer.
        length: Elements; 0 if this rank owns none.
        add_up: Sums a tensor in place over the ranks that share the parameter.
    """

    shape: torch.Size
    blocks: int
    start: int
    offset: int
    length: int
    add_up: Callable[[Tensor], object]


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Tell whether Muon moves a parameter: matrices of hidden layers, but no router."""
    inside = any(part in name for part in HIDDEN)
    return parameter.ndim >= 2 and inside and not name.endswith("mlp.gate.weight")


def n_blocks(name: str) -> int:
    """Return how many matrices a parameter stacks in its last but one dimension."""
    return 2 if name.endswith("gate_up_proj") else 1


def orthogonalise(update: Tensor) -> Tensor:
    """Bring all singular values of matrices [..., rows, columns] near 1 (0.7 to 1.2).

    Computed in fp32 on a CPU and in bf16 elsewhere, where matrix units make it cheap.
    """
    a, b, c = COEFFICIENTS
    x = update.float() if update.device.type == "cpu" else update.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(update.dtype)


def whole_update(update: Tensor, blocks: int) -> Tensor:
    """Return the scaled orthogonal update of a parameter's matrices, in its shape.

    Args:
        update: [rows, columns], or [experts, rows, columns].
        blocks: Matrices stacked in the rows.
    """
    matrices = update.view(*update.shape[:-2], blocks, -1, update.shape[-1])
    factor = SCALE * max(matrices.shape[-2:]) ** 0.5
    return (orthogonalise(matrices) * factor).flatten(-3, -2)


@torch.no_grad()
def muon_step(
    weights: Tensor,
    gradient: Tensor,
    momentum: Tensor,
    fragments: list[Fragment],
    *,
    lr: float,
    beta: float,
    weight_decay: float,
) -> None:
    """Update a flat buffer of weights and their momentum in place; a collective of all its owners.

    Args:
        weights: This rank's part of the weights, fp32; padding between fragments stays as it is.
        gradient: The gradient of it.
        momentum: The momentum of it.
        fragments: What is in the buffer, in the same order on all ranks.
        lr: Learning rate.
        beta: Decay of the momentum.
        weight_decay: Decoupled weight decay.
    """
    momentum.mul_(beta).add_(gradient)
    looking_ahead = gradient.add(momentum, alpha=beta)
    weights.mul_(1 - lr * weight_decay)
    for f in fragments:
        whole = torch.zeros(f.shape.numel(), dtype=torch.float32, device=weights.device)
        mine = slice(f.start, f.start + f.length)
        owned = slice(f.offset, f.offset + f.length)
        whole[mine] = looking_ahead.view(-1)[owned].float()
        f.add_up(whole)
        if f.length:
            update = whole_update(whole.view(f.shape), f.blocks).flatten()
            weights.view(-1)[owned] -= lr * update[mine].to(weights.dtype)
