"""Compile what is worth compiling: the decoder layers, without their routed experts."""

from __future__ import annotations

import torch
from torch import nn

from openseek.model.block import DecoderLayer
from openseek.model.moe import Experts
from openseek.training.expert_parallel import ParallelExperts


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Compile each decoder layer in place; layers of one kind share what is compiled.

    Routed experts stay as they are: the rows of each expert differ from step to step, and the
    grouped kernel is a call into a library already.

    Args:
        model: The model; names of parameters stay as they are.
        backend: torch.compile's backend.
    """
    for module in model.modules():
        if isinstance(module, Experts | ParallelExperts):
            plain = module.forward
            module.forward = torch.compiler.disable(plain)  # type: ignore[method-assign]
    for module in model.modules():
        if isinstance(module, DecoderLayer):
            module.compile(backend=backend, dynamic=False)
