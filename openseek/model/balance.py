"""Auxiliary-loss-free balance: the router's biases follow the measured load.

Source: arXiv 2408.15664; DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from openseek.model.moe import MoE


def _moe_layers(model: nn.Module) -> list[tuple[str, MoE]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, MoE)]


def expert_load(model: nn.Module) -> dict[str, Tensor]:
    """Return the tokens each expert of each MoE layer took since the last reset.

    Counted in forward passes in training mode, this process only; int64, on the CPU.
    """
    return {name: layer.tokens_per_expert.cpu().clone() for name, layer in _moe_layers(model)}


def reset_expert_load(model: nn.Module) -> None:
    """Set all counts to zero."""
    for _, layer in _moe_layers(model):
        layer.tokens_per_expert.zero_()


@torch.no_grad()
def update_router_biases(
    model: nn.Module, rate: float, reduce_fn: Callable[[Tensor], object] | None = None
) -> dict[str, Tensor]:
    """Move each expert's bias against its load, `bias += rate * sign(mean - count)`, and reset.

    Called once after each optimizer step by every process, with the counts of all its
    micro-batches.

    Args:
        model: The model; layers without experts are passed over.
        rate: Size of a step (1e-3); 0 only resets the counts.
        reduce_fn: Sums a tensor [layers, E] over all processes in place (an all-reduce); None for
            one process.

    Returns:
        The summed counts by layer name, int64 on the CPU, for the log.
    """
    layers = _moe_layers(model)
    if not layers:
        return {}
    counts_LE = torch.stack([layer.tokens_per_expert for _, layer in layers])
    if reduce_fn is not None:
        reduce_fn(counts_LE)
    load_LE = counts_LE.float()
    steps_LE = rate * torch.sign(load_LE.mean(dim=1, keepdim=True) - load_LE)
    for (_, layer), step_E in zip(layers, steps_LE, strict=True):
        layer.gate.e_score_correction_bias += step_E
    reset_expert_load(model)
    return {name: counts.cpu() for (name, _), counts in zip(layers, counts_LE, strict=True)}
