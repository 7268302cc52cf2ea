"""Multi-token prediction: layer k sees token t+k and predicts token t+1+k.

Source: DeepSeek-V3 (arXiv 2412.19437), section 2.2. The concatenation is [embedding, hidden], as in
the released weights; the paper's figure shows the opposite order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.model.attention import Packing
from openseek.model.block import DecoderLayer
from openseek.model.layers import Linear, RMSNorm
from openseek.model.moe import RouterStats


class SharedHead(nn.Module):
    """The norm before the output layer that all depths share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise."""
        normed: Tensor = self.norm(x_BTD)
        return normed


class MtpLayer(DecoderLayer):
    """A decoder layer that first joins the previous hidden state with a later token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, dense=False)
        d = config.hidden_size
        self.enorm = RMSNorm(d, config.rms_norm_eps)
        self.hnorm = RMSNorm(d, config.rms_norm_eps)
        self.eh_proj = Linear(2 * d, d)
        self.shared_head = SharedHead(config)

    def join(self, embedded_BTD: Tensor, h_BTD: Tensor) -> Tensor:
        """Combine the embeddings of tokens t+k with the states of positions t."""
        both = torch.cat([self.enorm(embedded_BTD), self.hnorm(h_BTD)], dim=-1)
        joined: Tensor = self.eh_proj(both)
        return joined

    def forward(
        self, x_BTD: Tensor, packing: Packing, embedded_BTD: Tensor | None = None
    ) -> tuple[Tensor, RouterStats | None]:
        """Join, then run the decoder layer."""
        if embedded_BTD is not None:
            x_BTD = self.join(embedded_BTD, x_BTD)
        return super().forward(x_BTD, packing)
