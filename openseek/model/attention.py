"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), with packed documents.

Shapes: B batch, T positions, D hidden, H heads, N/R/V head dimensions without and with rotary
positions and of values, L latent rank, C cached positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.model.layers import Linear, RMSNorm, rotate, softmax_scale

LATENT_EPS = 1e-6  # the latents' norms ignore rms_norm_eps, as in transformers
QUERY_CHUNK = 256  # queries whose scores are held at once; best of 64, 128, 256 at T=256 and 512


@dataclass(frozen=True)
class Packing:
    """What a batch's documents mean for attention; made once a forward.

    Attributes:
        positions_BT: Position of each token in its document.
        bias_B1TT: 0 where a query may see a key, else -inf; None: plain causal attention.
        cos: Rotary cosines [B, T, 1, R/2].
        sin: Rotary sines [B, T, 1, R/2].
    """

    positions_BT: Tensor
    bias_B1TT: Tensor | None
    cos: Tensor
    sin: Tensor


def document_positions(doc_BT: Tensor) -> Tensor:
    """Count positions from each document's first token; a document is a run of equal ids."""
    steps_T = torch.arange(doc_BT.shape[1], device=doc_BT.device)
    first_BT = torch.ones_like(doc_BT, dtype=torch.bool)
    first_BT[:, 1:] = doc_BT[:, 1:] != doc_BT[:, :-1]
    starts_BT = torch.where(first_BT, steps_T, 0).cummax(dim=1).values
    return steps_T - starts_BT


def attention_bias(positions_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """Build the additive mask [B, 1, T, T]: causal, and only within a document."""
    steps_T = torch.arange(positions_BT.shape[1], device=positions_BT.device)
    starts_BT = steps_T - positions_BT
    # A key is visible if it is not in the future and not before the query's document.
    seen_BTT = (steps_T[None, None, :] <= steps_T[None, :, None]) & (
        steps_T[None, None, :] >= starts_BT[:, :, None]
    )
    bias = torch.zeros(seen_BTT.shape, dtype=dtype, device=positions_BT.device)
    return bias.masked_fill_(~seen_BTT, float("-inf")).unsqueeze(1)


def sdpa(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTV: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """Attend with torch's fused kernel; V is padded to the keys' width.

    With different widths torch falls back to its unfused kernel, 2 to 3.6 times slower on a CPU.
    """
    width, extra = v_BHTV.shape[-1], q_BHTK.shape[-1] - v_BHTV.shape[-1]
    if extra > 0:
        v_BHTV = F.pad(v_BHTV, (0, extra))
    elif extra < 0:
        q_BHTK, k_BHTK = F.pad(q_BHTK, (0, -extra)), F.pad(k_BHTK, (0, -extra))
    out = F.scaled_dot_product_attention(
        q_BHTK, k_BHTK, v_BHTV, attn_mask=bias, is_causal=bias is None, scale=scale
    )
    return out[..., :width]


class _Chunked(torch.autograd.Function):
    """Causal attention by chunks of queries, with its own gradient.

    torch's gradient of a slice is a zero-filled tensor of the whole size, added up a chunk: that
    alone took a tenth of a training step. Here each chunk writes where it belongs.
    """

    @staticmethod
    def forward(
        ctx: Any, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTV: Tensor, bias: Tensor | None, scale: float
    ) -> Tensor:
        (n_rows, heads, length, _), width = q_BHTK.shape, v_BHTV.shape[-1]
        q = (q_BHTK * scale).flatten(0, 1)
        k, v = k_BHTK.flatten(0, 1), v_BHTV.flatten(0, 1)
        # Laid out as the output projection reads it.
        out_BTHV = v.new_empty(n_rows, length, heads, width)
        shares = []
        for start, end in _chunks(length):
            scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2))
            _mask(scores.view(n_rows, heads, end - start, end), bias, start, end)
            share = scores.softmax(dim=-1)
            part = torch.bmm(share, v[:, :end]).view(n_rows, heads, end - start, width)
            out_BTHV[:, start:end].copy_(part.transpose(1, 2))
            shares.append(share)
        ctx.scale, ctx.shape = scale, (n_rows, heads)
        ctx.save_for_backward(q, k, v, *shares)
        return out_BTHV.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *shares = ctx.saved_tensors
        out = grads[0].reshape(v.shape)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # From the last chunk, which sees every key and so fills the sums of the others.
        for share, (start, end) in reversed(list(zip(shares, _chunks(q.shape[1]), strict=True))):
            part = out[:, start:end]
            inner = torch.bmm(part, v[:, :end].transpose(1, 2))
            inner = torch._softmax_backward_data(inner, share, -1, share.dtype)
            torch.bmm(inner, k[:, :end], out=grad_q[:, start:end])
            keep = 0 if end == q.shape[1] else 1
            grad_k[:, :end].baddbmm_(inner.transpose(1, 2), q[:, start:end], beta=keep)
            grad_v[:, :end].baddbmm_(share.transpose(1, 2), part, beta=keep)
        grad_q.mul_(ctx.scale)
        q4, k4, v4 = (g.view(*ctx.shape, *g.shape[1:]) for g in (grad_q, grad_k, grad_v))
        return q4, k4, v4, None, None


def _chunks(length: int) -> list[tuple[int, int]]:
    return [(s, min(s + QUERY_CHUNK, length)) for s in range(0, length, QUERY_CHUNK)]


def _mask(scores_BHQT: Tensor, bias: Tensor | None, start: int, end: int) -> None:
    """Close what a chunk of queries may not see, in place."""
    if bias is not None:
        scores_BHQT += bias[:, :, start:end, :end]
        return
    ahead = torch.ones(end - start, end - start, dtype=torch.bool, device=scores_BHQT.device)
    scores_BHQT[..., start:].masked_fill_(ahead.triu_(1), float("-inf"))


def _traced(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTV: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """Do the same without outputs that are views, which torch.compile does not follow."""
    q, parts = q_BHTK * scale, []
    for start, end in _chunks(q.shape[2]):
        scores = q[:, :, start:end] @ k_BHTK[:, :, :end].transpose(2, 3)
        if bias is None:
            steps = torch.arange(end, device=q.device)
            scores = scores.masked_fill(steps > steps[start:, None], float("-inf"))
        else:
            scores = scores + bias[:, :, start:end, :end]
        parts.append(scores.softmax(dim=-1) @ v_BHTV[:, :, :end])
    return torch.cat(parts, dim=2)


def chunked(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTV: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """Attend chunk by chunk of queries with a plain softmax, skipping keys in the future."""
    if torch.compiler.is_compiling():
        return _traced(q_BHTK, k_BHTK, v_BHTV, bias, scale)
    out: Tensor = _Chunked.apply(q_BHTK, k_BHTK, v_BHTV, bias, scale)
    return out


class LatentAttention(nn.Module):
    """MLA: keys and values come from one small latent a token; queries optionally too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, heads = config.hidden_size, config.num_attention_heads
        self.heads, self.scale, self.backend = heads, softmax_scale(config), config.attention
        self.nope, self.rope, self.value = (
            config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim,
        )  # fmt: skip
        self.latent = config.kv_lora_rank
        if config.q_lora_rank is None:
            self.q_proj = Linear(d, heads * config.qk_head_dim)
        else:
            self.q_a_proj = Linear(d, config.q_lora_rank)
            self.q_a_layernorm = RMSNorm(config.q_lora_rank, LATENT_EPS)
            self.q_b_proj = Linear(config.q_lora_rank, heads * config.qk_head_dim)
        self.low_rank_query = config.q_lora_rank is not None
        self.kv_a_proj_with_mqa = Linear(d, self.latent + self.rope)
        self.kv_a_layernorm = RMSNorm(self.latent, LATENT_EPS)
        self.kv_b_proj = Linear(self.latent, heads * (self.nope + self.value))
        self.o_proj = Linear(heads * self.value, d)

    def forward(self, x_BTD: Tensor, packing: Packing) -> Tensor:
        """Attend within documents."""
        q = self._queries(x_BTD, packing)
        k, v = self._expand(*self.latents(x_BTD, packing))
        kernel = chunked if self._use_chunked(q) else sdpa
        out_BHTV = kernel(q, k, v, packing.bias_B1TT, self.scale)
        y_BTD: Tensor = self.o_proj(out_BHTV.transpose(1, 2).flatten(2))
        return y_BTD

    def step(self, x_BTD: Tensor, packing: Packing, cache: list[Tensor]) -> Tensor:
        """Attend from new tokens to all cached ones of the same sequence (decoding).

        Args:
            x_BTD: The new tokens.
            packing: Their positions, and a bias [B, 1, T, C]; None: plain causal attention.
            cache: Empty, or [latent_BCL, rotary_BCR]; extended in place.
        """
        q = self._queries(x_BTD, packing)
        new = self.latents(x_BTD, packing)
        if cache:
            new = (torch.cat([cache[0], new[0]], dim=1), torch.cat([cache[1], new[1]], dim=1))
        cache[:] = new
        total, fresh = cache[0].shape[1], q.shape[2]
        bias = packing.bias_B1TT
        if bias is None:
            seen = torch.ones(fresh, total, dtype=torch.bool, device=q.device).tril(total - fresh)
            bias = torch.zeros_like(seen, dtype=q.dtype).masked_fill(~seen, float("-inf"))
            bias = bias[None, None]
        if fresh == 1:
            out_BHTV = self._absorbed(q, cache[0], cache[1], bias)
        else:
            out_BHTV = sdpa(q, *self._expand(*cache), bias, self.scale)
        y_BTD: Tensor = self.o_proj(out_BHTV.transpose(1, 2).flatten(2))
        return y_BTD

    def _absorbed(
        self, q_BHTK: Tensor, latent_BCL: Tensor, rotary_BCR: Tensor, bias: Tensor
    ) -> Tensor:
        """Attend in the latent space: keys and values of cached tokens are never expanded."""
        weight: Tensor = self.kv_b_proj.weight
        kv_HML = weight.view(self.heads, self.nope + self.value, self.latent)
        key_HNL, value_HVL = kv_HML[:, : self.nope], kv_HML[:, self.nope :]
        nope, rope = q_BHTK[..., : self.nope], q_BHTK[..., self.nope :]
        inner = torch.einsum("bhtn,hnl->bhtl", nope, key_HNL)
        scores = torch.einsum("bhtl,bcl->bhtc", inner, latent_BCL)
        scores = (scores + torch.einsum("bhtr,bcr->bhtc", rope, rotary_BCR)) * self.scale
        share = (scores + bias).softmax(dim=-1)
        mixed = torch.einsum("bhtc,bcl->bhtl", share, latent_BCL)
        return torch.einsum("bhtl,hvl->bhtv", mixed, value_HVL)

    def latents(self, x_BTD: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Return what a cache keeps of a token: the normed latent and the turned rotary key."""
        both = self.kv_a_proj_with_mqa(x_BTD)
        latent_BTL, rotary_BTR = both.split([self.latent, self.rope], dim=-1)
        turned = rotate(rotary_BTR.unsqueeze(2), packing.cos, packing.sin).squeeze(2)
        return self.kv_a_layernorm(latent_BTL), turned

    def _queries(self, x_BTD: Tensor, packing: Packing) -> Tensor:
        if self.low_rank_query:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x_BTD)))
        else:
            q = self.q_proj(x_BTD)
        q_BTHK = q.unflatten(-1, (self.heads, self.nope + self.rope))
        nope, rope = q_BTHK.split([self.nope, self.rope], dim=-1)
        turned = rotate(rope, packing.cos, packing.sin)
        return torch.cat([nope.transpose(1, 2), turned.transpose(1, 2)], dim=-1)

    def _expand(self, latent_BTL: Tensor, rotary_BTR: Tensor) -> tuple[Tensor, Tensor]:
        kv = self.kv_b_proj(latent_BTL).unflatten(-1, (self.heads, self.nope + self.value))
        nope, v_BHTV = kv.transpose(1, 2).split([self.nope, self.value], dim=-1)
        shared = rotary_BTR.unsqueeze(1).expand(-1, self.heads, -1, -1)
        return torch.cat([nope, shared], dim=-1), v_BHTV

    def _use_chunked(self, q: Tensor) -> bool:
        if self.backend == "auto":
            return q.device.type == "cpu"
        return self.backend == "chunked"
