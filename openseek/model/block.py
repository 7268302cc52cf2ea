"""One decoder layer: attention, then a dense or a mixture-of-experts feed-forward."""

from __future__ import annotations

from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.model.attention import LatentAttention, Packing
from openseek.model.layers import RMSNorm, SwiGLU
from openseek.model.moe import MoE, RouterStats


class DecoderLayer(nn.Module):
    """Pre-norm residual layer."""

    def __init__(self, config: ModelConfig, *, dense: bool) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LatentAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp: nn.Module = (
            SwiGLU(config.hidden_size, config.intermediate_size) if dense else MoE(config)
        )

    def forward(self, x_BTD: Tensor, packing: Packing) -> tuple[Tensor, RouterStats | None]:
        """Run the layer; the statistics are None for a dense feed-forward."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), packing)
        return self._feed_forward(x_BTD)

    def step(self, x_BTD: Tensor, packing: Packing, cache: list[Tensor]) -> Tensor:
        """Run the layer on new tokens of a sequence whose earlier latents are cached."""
        x_BTD = x_BTD + self.self_attn.step(self.input_layernorm(x_BTD), packing, cache)
        return self._feed_forward(x_BTD)[0]

    def _feed_forward(self, x_BTD: Tensor) -> tuple[Tensor, RouterStats | None]:
        out = self.mlp(self.post_attention_layernorm(x_BTD))
        # A replaced layer (expert parallelism) returns its output alone.
        y_BTD, stats = out if isinstance(out, tuple) else (out, None)
        return x_BTD + y_BTD, stats
