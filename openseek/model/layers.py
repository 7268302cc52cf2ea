"""Norm, feed-forward and rotary positions.

Shapes: B batch, T positions, D hidden, H heads, R rotary dimensions, F feed-forward width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openseek.config.model import ModelConfig, YarnConfig

BLOCK_ELEMENTS = 1 << 15  # values in fp32 at once; 128 kB, a few of which fit a core's cache


class _CpuRmsNorm(torch.autograd.Function):
    """RMS norm in few passes: torch's own backward on a CPU is composed and takes twice as long.

    Rows are taken in blocks, so that what is in fp32 stays in a core's cache.
    """

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_SD, out = x_BTD.flatten(0, -2), torch.empty(x_BTD.shape, dtype=x_BTD.dtype)
        out_SD, inverse_S1 = out.view(x_SD.shape), torch.empty(x_SD.shape[0], 1)
        scale_D = weight_D.float()
        for part in _row_blocks(x_SD):
            x, inverse = x_SD[part].float(), inverse_S1[part]
            torch.linalg.vector_norm(x, dim=-1, keepdim=True, out=inverse)
            inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            out_SD[part] = x.mul(inverse).mul_(scale_D)
        ctx.save_for_backward(x_BTD, weight_D, inverse_S1)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BTD, weight_D, inverse_S1 = ctx.saved_tensors
        x_SD, grad_SD = x_BTD.flatten(0, -2), grads[0].flatten(0, -2)
        scale_D, grad_D = weight_D.float(), torch.zeros(weight_D.shape)
        grad_x = torch.empty(x_BTD.shape, dtype=x_BTD.dtype)
        grad_x_SD = grad_x.view(x_SD.shape)
        for part in _row_blocks(x_SD):
            inverse = inverse_S1[part]
            normed, grad = x_SD[part].float() * inverse, grad_SD[part].float()
            product = grad * normed
            grad_D += product.sum(0)
            mean = torch.mv(product, scale_D).div_(product.shape[1]).unsqueeze(1)
            grad_x_SD[part] = (grad * scale_D).addcmul_(normed, mean, value=-1).mul_(inverse)
        return grad_x, grad_D.to(weight_D.dtype), None


def _row_blocks(rows_SD: Tensor) -> list[slice]:
    step = max(1, BLOCK_ELEMENTS // rows_SD.shape[1])
    return [slice(start, start + step) for start in range(0, rows_SD.shape[0], step)]


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learnt scale, computed in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalise the last dimension."""
        eager = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if eager and x_BTD.device.type == "cpu":
            return _CpuRmsNorm.apply(x_BTD, self.weight, self.eps)
        return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.eps)


class Linear(nn.Linear):
    """A projection without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Do nothing: `init_weights` fills all parameters, in one documented order."""


class SwiGLU(nn.Module):
    """Gated feed-forward: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden, width)
        self.up_proj = Linear(hidden, width)
        self.down_proj = Linear(width, hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply the feed-forward."""
        down: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return down


def yarn_mscale(factor: float, weight: float) -> float:
    """Return `0.1 * weight * ln(factor) + 1`, the YaRN attention temperature (1 up to factor 1)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def softmax_scale(config: ModelConfig) -> float:
    """Return the factor on query-key products: `d_qk^-0.5`, times YaRN's mscale_all_dim squared."""
    scale = config.qk_head_dim**-0.5
    yarn = config.rope_scaling
    if yarn is not None and yarn.mscale_all_dim:
        scale *= yarn_mscale(yarn.factor, yarn.mscale_all_dim) ** 2
    return scale


def rotary_frequencies(config: ModelConfig) -> tuple[Tensor, float]:
    """Compute the rotary frequencies and the scale of cos and sin.

    YaRN keeps frequencies that turn more than `beta_fast` times in the original context, divides
    those below `beta_slow` by the factor, and blends linearly in between.

    Returns:
        Frequencies in radians a position (fp32, R/2 values), and the factor on cos and sin.

    Source: arXiv 2309.00071, section 3; DeepSeek-V3's released code.
    """
    dim, base = config.qk_rope_head_dim, config.rope_theta
    powers = base ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)
    yarn = config.rope_scaling
    if yarn is None:
        return 1.0 / powers, 1.0
    low, high = _yarn_range(yarn, dim, base)
    steps = torch.arange(dim // 2, dtype=torch.float32, device="cpu")
    stretched = ((steps - low) / (high - low)).clamp(0, 1)
    frequencies = stretched / (yarn.factor * powers) + (1 - stretched) / powers
    scale = yarn_mscale(yarn.factor, yarn.mscale) / yarn_mscale(yarn.factor, yarn.mscale_all_dim)
    return frequencies, scale


def _yarn_range(yarn: YarnConfig, dim: int, base: float) -> tuple[float, float]:
    def dimension(rotations: float) -> float:
        wavelength = yarn.original_max_position_embeddings / (rotations * 2 * math.pi)
        return dim * math.log(wavelength) / (2 * math.log(base))

    low = max(math.floor(dimension(yarn.beta_fast)), 0)
    high = min(math.ceil(dimension(yarn.beta_slow)), dim - 1)
    return low, high if high != low else high + 0.001


class RotaryTable:
    """cos and sin for all positions, computed in fp32 and kept once a device and type.

    Not a buffer: casting a module to bf16 would round the angles.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.frequencies, self.scale = rotary_frequencies(config)
        self._tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def rotations(self, positions_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return cos and sin of shape [B, T, 1, R/2], ready to multiply [B, T, H, R/2]."""
        length = int(positions_BT.max()) + 1 if positions_BT.numel() else 1
        key = (positions_BT.device, dtype)
        table = self._tables.get(key)
        if table is None or table.shape[0] < length:
            length = max(256, 1 << (length - 1).bit_length())
            angles = torch.outer(torch.arange(length, dtype=torch.float32), self.frequencies)
            both = torch.stack([angles.cos(), angles.sin()], dim=1) * self.scale
            table = both.to(dtype=dtype, device=positions_BT.device)
            self._tables[key] = table
        cos, sin = table[positions_BT].unbind(dim=2)
        return cos.unsqueeze(2), sin.unsqueeze(2)


class _Rotate(torch.autograd.Function):
    """Turn pairs in two passes; the gradient is the turn back."""

    @staticmethod
    def forward(ctx: Any, x_BTHR: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        out = x_BTHR.new_empty(x_BTHR.shape)
        (first, second), (x, y) = (x_BTHR[..., 0::2], x_BTHR[..., 1::2]), out.chunk(2, dim=-1)
        torch.mul(first, cos, out=x).addcmul_(second, sin, value=-1)
        torch.mul(second, cos, out=y).addcmul_(first, sin)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        x, y = grads[0].chunk(2, dim=-1)
        out = torch.empty(grads[0].shape, dtype=x.dtype, device=x.device)
        out[..., 0::2] = torch.mul(x, cos).addcmul_(y, sin)
        out[..., 1::2] = torch.mul(y, cos).addcmul_(x, sin, value=-1)
        return out, None, None


def rotate(x_BTHR: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring pairs (x0, x1), (x2, x3), … by their angles.

    The result holds all first elements, then all second ones: a permutation that queries and keys
    share, so that their products are those of the interleaved order.
    """
    if torch.compiler.is_compiling():  # fuses these itself, and cannot follow views as outputs
        x, y = x_BTHR[..., 0::2], x_BTHR[..., 1::2]
        return torch.cat([x * cos - y * sin, y * cos + x * sin], dim=-1)
    out: Tensor = _Rotate.apply(x_BTHR, cos, sin)
    return out
