"""The model as a sequence of stages: what a pipeline cuts.

Between stages travel the states and the document numbers of a micro-batch. A router's losses do
not: `_AddLoss` puts their gradient in where they arise, and only their values are reported.

Shapes: B batch, T positions, D hidden.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openseek.config.model import ModelConfig
from openseek.config.parallel import ParallelConfig
from openseek.model.attention import Packing, attention_bias, document_positions
from openseek.model.block import DecoderLayer
from openseek.model.layers import RotaryTable
from openseek.model.loss import linear_cross_entropy
from openseek.model.model import OpenSeekModel
from openseek.model.moe import MoE, RouterStats

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
        self.router_losses = torch.zeros(2)

    def forward(self, stream: Stream) -> Stream:
        """Run the layer, and add its router's losses to the gradient."""
        x_BTD, doc_BT = stream
        x_BTD, stats = self._run(x_BTD, self._packing(doc_BT, x_BTD.dtype))
        if stats is not None:
            weights = self.config.balance
            loss = weights.seq_aux_weight * stats.balance + weights.z_loss * stats.z
            if self.training:
                both = torch.stack([stats.balance, stats.z]).detach()
                self.router_losses = self.router_losses.to(both.device) + both
                cast(MoE, self.layer.mlp).tokens_per_expert += stats.counts_E
            x_BTD = _AddLoss.apply(x_BTD, loss, 1.0 / self.n_micro)
        return x_BTD, doc_BT

    def _run(self, x_BTD: Tensor, packing: Packing) -> tuple[Tensor, RouterStats | None]:
        if self.config.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(self.layer, x_BTD, packing, use_reentrant=False)
        out: tuple[Tensor, RouterStats | None] = self.layer(x_BTD, packing)
        return out

    def take_router_losses(self) -> Tensor:
        """Return balance and z loss [2], summed since the last call, without their weights."""
        found, self.router_losses = self.router_losses, torch.zeros(2)
        return found


class Head(nn.Module):
    """Last layer: the final norm; the output layer belongs to the loss."""

    def __init__(self, model: OpenSeekModel) -> None:
        super().__init__()
        self.norm = model.model.norm
        tied = model.config.tie_word_embeddings
        self.output = model.model.embed_tokens if tied else model.lm_head
        self.seen: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def forward(self, stream: Stream) -> Stream:
        """Return normalised states and the output layer's weight.

        DeepSpeed prepares each backward pass in hooks on what a module returns. A weight that the
        loss used beside them would get its gradient before, and lose it there (in bf16).
        """
        weight_VD = self.output.weight
        return self.norm(stream[0]), weight_VD.view_as(weight_VD)

    def loss(self, given: Stream, targets: Stream) -> Tensor:
        """Return the mean cross entropy of the labelled tokens, and keep that of each.

        Args:
            given: What `forward` returned.
            targets: labels_BT and category_B.
        """
        (normed_BTD, weight_VD), (labels_BT, category_B) = given, targets
        mean, losses_S = linear_cross_entropy(
            normed_BTD.flatten(0, 1), weight_VD, labels_BT.flatten()
        )
        self.seen.append((mean.detach(), losses_S.view_as(labels_BT), labels_BT, category_B))
        return mean

    def take_losses(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return mean, token losses [B, T], labels and categories of all since the last call."""
        found, self.seen = self.seen, []
        return found


def to_layers(model: OpenSeekModel, n_micro: int) -> list[nn.Module]:
    """Cut a model into a pipeline's layers, which share its parameters.

    Args:
        model: A model without MTP layers.
        n_micro: Micro-batches that a pipeline adds up in a step.
    """
    packings = _Packings(model.rotary)
    blocks = [
        Block(cast(DecoderLayer, layer), model.config, packings, n_micro)
        for layer in model.model.layers
    ]
    return [Embedding(model), *blocks, Head(model)]


def held(
    config: ModelConfig, parallel: ParallelConfig, rank: int, world_size: int
) -> list[str] | None:
    """Return how the names begin of what a rank holds of a model; None: all of it.

    Layers are cut into equal runs, the first ones longer by one where that does not come out even,
    as DeepSpeed does it.

    Args:
        config: The model.
        parallel: How it is cut.
        rank: A rank; those of one stage are neighbours.
        world_size: Number of ranks.
    """
    stages = parallel.pipeline
    if stages == 1:
        return None
    head = "model.embed_tokens." if config.tie_word_embeddings else "lm_head."
    layers = [f"model.layers.{i}." for i in range(config.num_hidden_layers)]
    names = [["model.embed_tokens."], *([layer] for layer in layers), ["model.norm.", head]]
    stage = rank // (world_size // stages)
    runs = [stage, 2 * stages - 1 - stage] if parallel.schedule == "dualpipev" else [stage]
    cuts = len(runs) * stages
    each, longer = divmod(len(names), cuts)
    found = []
    for run in runs:
        start = run * each + min(run, longer)
        stop = start + each + (run < longer)
        found += [name for part in names[start:stop] for name in part]
    return found


def keep_only(model: OpenSeekModel, kept: set[str]) -> None:
    """Take out of a model what this rank does not hold; names of the rest stay as they are.

    Args:
        model: The whole model; it can no longer be run by itself.
        kept: Names of parameters to keep, whole layers of them.
    """
    parts: list[tuple[nn.Module, str]] = [
        (model.model.layers, str(i)) for i in range(len(model.model.layers))
    ]
    parts += [(model.model, "embed_tokens"), (model.model, "norm"), (model, "lm_head")]
    names = {id(p): name for name, p in model.named_parameters()}
    for parent, child in parts:
        module = parent._modules.get(child)
        if module and not any(names[id(p)] in kept for p in module.parameters()):
            del parent._modules[child]
