"""The whole model: embedding, decoder layers, output layer, MTP, and the loss.

Shapes: B batch, T positions, S = B * T tokens, D hidden, V vocabulary, N chosen positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openseek.config.model import ModelConfig
from openseek.errors import ConfigError
from openseek.model.attention import Packing, attention_bias, document_positions
from openseek.model.block import DecoderLayer
from openseek.model.layers import Linear, RMSNorm, RotaryTable
from openseek.model.loss import IGNORE, linear_cross_entropy
from openseek.model.moe import MoE, RouterStats
from openseek.model.mtp import MtpLayer


@dataclass
class ModelOutput:
    """What a forward pass returns.

    Attributes:
        loss: What to differentiate: `ce + loss_weight * mtp + seq_aux_weight * sum of the layers'
            balance + z_loss * sum of the layers' z`; None without labels.
        parts: Detached fp32 scalars: `ce`; `mtp` (mean over depths) and `mtp_1` …; `balance` and
            `z` (means over MoE layers, unweighted; balance is 1 when load is even).
        token_loss_BT: Detached fp32 cross entropy of each token, 0 without a label.
        logits_BTV: Logits, if they were asked for.
    """

    loss: Tensor | None = None
    parts: dict[str, Tensor] = field(default_factory=dict)
    token_loss_BT: Tensor | None = None
    logits_BTV: Tensor | None = None


class Decoder(nn.Module):
    """Embedding, layers and final norm, named as Hugging Face's `model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Given a weight it draws none: on the meta device that would import torch's compiler (2 s).
        self.embed_tokens = nn.Embedding(
            config.vocab_size,
            config.hidden_size,
            _weight=torch.empty(config.vocab_size, config.hidden_size),
        )
        self.layers = nn.ModuleList(
            DecoderLayer(config, dense=config.is_dense(i)) for i in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class OpenSeekModel(nn.Module):
    """A DeepSeek-V3 language model; make one with `build_model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.mtp = nn.ModuleList(MtpLayer(config) for _ in range(config.mtp.depth))
        self.rotary = RotaryTable(config)

    @property
    def output_weight_VD(self) -> Tensor:
        """The output layer's weight: the embedding itself when tied."""
        tied = self.config.tie_word_embeddings
        weight: Tensor = self.model.embed_tokens.weight if tied else self.lm_head.weight
        return weight

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        labels_BT: Tensor | None = None,
        doc_BT: Tensor | None = None,
        return_logits: bool = False,
    ) -> ModelOutput:
        """Run the model and, with labels, compute the loss.

        Args:
            tokens_BT: Token ids.
            labels_BT: The token that follows each position, -100 for none. Already shifted:
                `labels[:, t] == tokens[:, t + 1]` within a document.
            doc_BT: A number for each token that changes where a new document begins; positions
                restart there and attention does not cross. None: one document a row.
            return_logits: Keep the logits of all positions (B * T * V values in fp32).
        """
        packing = self.packing(tokens_BT, doc_BT)
        h_BTD, embedded_BTD, stats = self._decode(tokens_BT, packing)
        normed_BTD = self.model.norm(h_BTD)
        out = ModelOutput()
        if return_logits:
            out.logits_BTV = self.logits(normed_BTD)
        if labels_BT is not None:
            ce, token_loss_S = linear_cross_entropy(
                normed_BTD.flatten(0, 1), self.output_weight_VD, labels_BT.flatten()
            )
            out.parts["ce"] = ce.detach()
            out.token_loss_BT = token_loss_S.detach().view_as(labels_BT)
            out.loss = ce
            if len(self.mtp):
                start = h_BTD if self.config.mtp.input == "pre_norm" else normed_BTD
                mtp = self._mtp_loss(start, embedded_BTD, labels_BT, packing, stats, out.parts)
                out.loss = out.loss + self.config.mtp.loss_weight * mtp
            out.loss = out.loss + self._router_loss(stats, out.parts)
        if self.training:
            _count_load(stats)
        return out

    def hidden_states(self, tokens_BT: Tensor, doc_BT: Tensor | None = None) -> Tensor:
        """Return the states after the final norm, [B, T, D]: what the output layer sees."""
        h_BTD, _, _ = self._decode(tokens_BT, self.packing(tokens_BT, doc_BT))
        normed: Tensor = self.model.norm(h_BTD)
        return normed

    def hidden_states_at(
        self, tokens_BT: Tensor, positions_BT: Tensor, bias_B1TT: Tensor
    ) -> Tensor:
        """Return the states after the final norm for positions and a mask that the caller made.

        Args:
            tokens_BT: Token ids.
            positions_BT: Position of each token.
            bias_B1TT: What is added to the attention scores; a key behind its query is never seen.
        """
        h_BTD, _, _ = self._decode(tokens_BT, self.packing_at(positions_BT, bias_B1TT))
        normed: Tensor = self.model.norm(h_BTD)
        return normed

    def logits(self, normed: Tensor) -> Tensor:
        """Apply the output layer to states after the final norm, of any leading shape; fp32."""
        return nn.functional.linear(normed, self.output_weight_VD).float()

    def logits_at(
        self, tokens_BT: Tensor, chosen_BT: Tensor, doc_BT: Tensor | None = None
    ) -> Tensor:
        """Return logits for chosen positions only, for scoring answers.

        Rows may be padded on the right with any token: nothing looks ahead.

        Args:
            tokens_BT: Token ids.
            chosen_BT: True where logits are wanted (of the token that follows).
            doc_BT: As in `forward`.

        Returns:
            [N, V] in fp32, in row-major order of the chosen positions.
        """
        return self.logits(self.hidden_states(tokens_BT, doc_BT)[chosen_BT])

    def packing(self, tokens_BT: Tensor, doc_BT: Tensor | None) -> Packing:
        """Work out positions and the mask of a batch."""
        dtype = self.output_weight_VD.dtype
        if doc_BT is None:
            steps_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
            positions_BT, bias = steps_T.expand_as(tokens_BT), None
        else:
            positions_BT = document_positions(doc_BT)
            bias = attention_bias(positions_BT, dtype)
        return self.packing_at(positions_BT, bias)

    def packing_at(self, positions_BT: Tensor, bias_B1TT: Tensor | None = None) -> Packing:
        """Build a packing from known positions."""
        cos, sin = self.rotary.rotations(positions_BT, self.output_weight_VD.dtype)
        return Packing(positions_BT, bias_B1TT, cos, sin)

    def _run(self, layer: nn.Module, *args: object) -> tuple[Tensor, RouterStats | None]:
        if self.config.activation_checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, *args, use_reentrant=False)
        return layer(*args)

    def _decode(
        self, tokens_BT: Tensor, packing: Packing
    ) -> tuple[Tensor, Tensor, list[tuple[nn.Module, RouterStats]]]:
        x_BTD = embedded_BTD = self.model.embed_tokens(tokens_BT)
        stats = []
        for layer in self.model.layers:
            x_BTD, router = self._run(layer, x_BTD, packing)
            if router is not None:
                stats.append((layer, router))
        return x_BTD, embedded_BTD, stats

    def _mtp_loss(
        self,
        h_BTD: Tensor,
        embedded_BTD: Tensor,
        labels_BT: Tensor,
        packing: Packing,
        stats: list[tuple[nn.Module, RouterStats]],
        parts: dict[str, Tensor],
    ) -> Tensor:
        losses = []
        for k, layer in enumerate(self.mtp, start=1):
            if labels_BT.shape[1] <= k:
                break
            kept = labels_BT.shape[1] - k
            h_BTD, router = self._run(
                layer, h_BTD[:, :kept], _first(packing, kept), embedded_BTD[:, k:]
            )
            if router is not None:
                stats.append((layer, router))
            same = packing.positions_BT[:, k:] == packing.positions_BT[:, :kept] + k
            labels = labels_BT[:, k:].where(same, IGNORE)
            normed = layer.shared_head(h_BTD)  # type: ignore[operator]
            if self.config.mtp.input == "post_norm":
                h_BTD = normed
            loss, _ = linear_cross_entropy(
                normed.flatten(0, 1), self.output_weight_VD, labels.flatten()
            )
            parts[f"mtp_{k}"] = loss.detach()
            losses.append(loss)
        mean = torch.stack(losses).mean() if losses else h_BTD.sum() * 0.0
        parts["mtp"] = mean.detach()
        return mean

    def _router_loss(
        self, stats: list[tuple[nn.Module, RouterStats]], parts: dict[str, Tensor]
    ) -> Tensor | float:
        if not stats:
            return 0.0
        balance = torch.stack([s.balance for _, s in stats])
        z = torch.stack([s.z for _, s in stats])
        parts["balance"], parts["z"] = balance.detach().mean(), z.detach().mean()
        weights = self.config.balance
        return weights.seq_aux_weight * balance.sum() + weights.z_loss * z.sum()


def _first(packing: Packing, length: int) -> Packing:
    bias = packing.bias_B1TT
    return Packing(
        packing.positions_BT[:, :length],
        None if bias is None else bias[:, :, :length, :length],
        packing.cos[:, :length],
        packing.sin[:, :length],
    )


@torch.no_grad()
def _count_load(stats: list[tuple[nn.Module, RouterStats]]) -> None:
    # Outside of the layers, so that a recomputed layer does not count twice.
    for layer, router in stats:
        if isinstance(layer.mlp, MoE):
            layer.mlp.tokens_per_expert += router.counts_E


def build_model(
    config: ModelConfig,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: torch.device | str = "cpu",
    kept: Sequence[str] | None = None,
) -> OpenSeekModel:
    """Build a model with fresh weights.

    Every weight is drawn in fp32 from a generator of its own, seeded by (seed, name): the same on
    any number of threads and processes, for any type and any order of construction.

    Args:
        config: The model, with `vocab_size` set.
        dtype: Type of the weights; router biases stay fp32.
        seed: Seed of the weights.
        device: Where to put it; `meta` gives a model without storage.
        kept: As in `materialise`.

    Raises:
        ConfigError: The vocabulary size is not known yet.
    """
    if not config.vocab_size:
        raise ConfigError(
            "the vocabulary size is not known", where="model.vocab_size",
            mend="Set it, or call config.with_vocab(len(tokenizer)).",
        )  # fmt: skip
    with torch.device("meta"):
        model = OpenSeekModel(config).to(dtype)
    if torch.device(device).type == "meta":
        return model
    materialise(model, device, kept)
    init_weights(model, seed)
    return model


def materialise(
    model: OpenSeekModel, device: torch.device | str, kept: Sequence[str] | None = None
) -> None:
    """Give a model on the meta device storage, without contents.

    Args:
        model: The model.
        device: Where.
        kept: Only to what has a name that begins like one of these (`model.layers.3.`); the rest
            stays on the meta device. None: to all.
    """
    for name, module in model.named_modules():
        if kept is None or f"{name}.".startswith(tuple(kept)):
            module.to_empty(device=device, recurse=False)


@torch.no_grad()
def init_weights(model: OpenSeekModel, seed: int) -> None:
    """Fill a model: norms 1, router biases 0, the rest N(0, initializer_range)."""
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        if name.endswith("norm.weight"):
            parameter.fill_(1.0)
            continue
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        fresh = torch.empty(parameter.shape, dtype=torch.float32)
        fresh.normal_(0.0, model.config.initializer_range, generator=generator)
        parameter.copy_(fresh)
    for buffer in model.buffers():
        buffer.zero_()
