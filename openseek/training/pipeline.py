"""The model as a sequence of stages: what a pipeline cuts.

Between stages travel the states and the document numbers of a micro-batch. A router's losses do
not: `_AddLoss` puts their gradient in where they arise, and only their values are reported.

Shapes: B batch, T positions, D hidden.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.model.attention import Packing, attention_bias, document_positions
from openseek.model.block import DecoderLayer
from openseek.model.layers import RotaryTable
from openseek.model.loss import linear_cross_entropy
from openseek.model.model import OpenSeekModel
from openseek.model.moe import MoE

Stream = tuple[Tensor, Tensor]


class _AddLoss(torch.autograd.Function):
    """Pass states on unchanged, and differentiate a loss beside them with a known factor."""

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, loss: Tensor, factor: float) -> Tensor:
        ctx.factor, ctx.like = factor, loss
        return x_BTD.view_as(x_BTD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], torch.full_like(ctx.like, ctx.factor), None


class _Packings:
    """Positions and mask of the last micro-batch, which all layers of a stage share."""

    def __init__(self, rotary: RotaryTable) -> None:
        self._rotary = rotary
        self._last: tuple[Tensor, Packing] | None = None

    def __call__(self, doc_BT: Tensor, dtype: torch.dtype) -> Packing:
        if self._last is None or self._last[0] is not doc_BT:
            positions_BT = document_positions(doc_BT)
            cos, sin = self._rotary.rotations(positions_BT, dtype)
            packing = Packing(positions_BT, attention_bias(positions_BT, dtype), cos, sin)
            self._last = doc_BT, packing
        return self._last[1]


class Embedding(nn.Module):
    """First layer: tokens and document numbers become the stream."""

    def __init__(self, model: OpenSeekModel) -> None:
        super().__init__()
        self.embed_tokens = model.model.embed_tokens

    def forward(self, batch: Stream) -> Stream:
        """Embed."""
        tokens_BT, doc_BT = batch
        return self.embed_tokens(tokens_BT), doc_BT


class Block(nn.Module):
    """A decoder layer of the stream.

    Args:
        layer: The layer.
        config: The model's configuration.
        packings: Positions and masks, shared by all layers.
        n_micro: Micro-batches that a pipeline adds up in a step.
    """

    def __init__(
        self, layer: DecoderLayer, config: ModelConfig, packings: _Packings, n_micro: int
    ) -> None:
        super().__init__()
        self.layer = layer
        self.config = config
        self._packing = packings
        self.n_micro = n_micro
        self.router_loss = 0.0

    def forward(self, stream: Stream) -> Stream:
        """Run the layer, and add its router's losses to the gradient."""
        x_BTD, doc_BT = stream
        x_BTD, stats = self.layer(x_BTD, self._packing(doc_BT, x_BTD.dtype))
        if stats is not None:
            weights = self.config.balance
            loss = weights.seq_aux_weight * stats.balance + weights.z_loss * stats.z
            if self.training:
                self.router_loss += float(loss.detach())
                cast(MoE, self.layer.mlp).tokens_per_expert += stats.counts_E
            x_BTD = _AddLoss.apply(x_BTD, loss, 1.0 / self.n_micro)  # type: ignore[no-untyped-call]
        return x_BTD, doc_BT


class Head(nn.Module):
    """Last layer: the final norm; the output layer belongs to the loss."""

    def __init__(self, model: OpenSeekModel) -> None:
        super().__init__()
        self.norm = model.model.norm
        tied = model.config.tie_word_embeddings
        self.output = model.model.embed_tokens if tied else model.lm_head

    def forward(self, stream: Stream) -> Tensor:
        """Normalise."""
        normed: Tensor = self.norm(stream[0])
        return normed

    def loss(self, normed_BTD: Tensor, labels_BT: Tensor) -> Tensor:
        """Return the mean cross entropy of the labelled tokens."""
        mean, _ = linear_cross_entropy(
            normed_BTD.flatten(0, 1), self.output.weight, labels_BT.flatten()
        )
        return mean


def to_layers(model: OpenSeekModel, n_micro: int) -> list[tuple[nn.Module, dict[str, str]]]:
    """Cut a model into a pipeline's layers, which share its parameters.

    Args:
        model: A model without MTP layers.
        n_micro: Micro-batches that a pipeline adds up in a step.

    Returns:
        Each layer, and the model's name of each of its parameters by its own.
    """
    packings = _Packings(model.rotary)
    blocks = [
        (Block(cast(DecoderLayer, layer), model.config, packings, n_micro), f"model.layers.{i}.")
        for i, layer in enumerate(model.model.layers)
    ]
    layers: list[tuple[nn.Module, dict[str, str]]] = [
        (Embedding(model), {"embed_tokens.weight": "model.embed_tokens.weight"})
    ]
    for block, prefix in blocks:
        names = {n: prefix + n.removeprefix("layer.") for n, _ in block.named_parameters()}
        layers.append((block, names))
    tied = model.config.tie_word_embeddings
    output = "model.embed_tokens.weight" if tied else "lm_head.weight"
    layers.append((Head(model), {"norm.weight": "model.norm.weight", "output.weight": output}))
    return layers
