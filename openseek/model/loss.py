"""Cross entropy of the output layer, without ever holding all logits.

Shapes: S tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IGNORE = -100
CHUNK_ELEMENTS = 1 << 24  # logits held at once; 32 MB in bf16
CHUNK_ROWS = 512  # tokens at least: each chunk adds to a gradient of the whole output layer
BLOCK_ELEMENTS = 1 << 19  # logits in fp32 at once; 2 MB stay in a core's cache


class _LinearCrossEntropy(torch.autograd.Function):
    """Compute loss and gradients chunk by chunk in the forward pass; backward only scales them.

    With e = exp(logits - row maximum), the gradient of the logits is `e / sum(e) - onehot`. The
    row factors are applied to the narrow sides of the products (width D), not to e (width V).
    """

    @staticmethod
    def forward(
        ctx: Any, h_SD: Tensor, weight_VD: Tensor, labels_S: Tensor
    ) -> tuple[Tensor, Tensor]:
        valid_S = labels_S != IGNORE
        index_S = labels_S.where(valid_S, 0)
        share = 1.0 / valid_S.sum().clamp(min=1).float()
        scale_S = valid_S * share
        rows = max(CHUNK_ROWS, CHUNK_ELEMENTS // weight_VD.shape[0])
        losses_S = torch.empty(h_SD.shape[0], dtype=torch.float32, device=h_SD.device)
        want_h, want_w = ctx.needs_input_grad[:2]
        grad_h_SD = torch.empty_like(h_SD, dtype=torch.float32) if want_h else None
        grad_w_VD: Tensor | None = None
        turned_DV = weight_VD.t().contiguous()  # 1.8x faster products than with the view
        for start in range(0, h_SD.shape[0], rows):
            part = slice(start, start + rows)
            h = h_SD[part]
            logits_RV = torch.mm(h, turned_DV)
            losses_S[part] = -logits_RV.gather(1, index_S[part].unsqueeze(1)).squeeze(1).float()
            logsumexp_R, sums_R = _exponentiate(logits_RV)
            losses_S[part] += logsumexp_R
            factor_R1 = (scale_S[part] / sums_R).unsqueeze(1)
            if grad_h_SD is not None:
                torch.mul(torch.mm(logits_RV, weight_VD), factor_R1, out=grad_h_SD[part])
            if want_w:
                share_VD = torch.mm(logits_RV.t(), (h * factor_R1).to(h.dtype))
                grad_w_VD = share_VD.float() if grad_w_VD is None else grad_w_VD.add_(share_VD)
        if grad_h_SD is not None:
            grad_h_SD -= weight_VD.index_select(0, index_S) * scale_S.unsqueeze(1)
            grad_h_SD = grad_h_SD.to(h_SD.dtype)
        if grad_w_VD is not None:
            grad_w_VD.index_add_(0, index_S, h_SD * scale_S.unsqueeze(1), alpha=-1)
            grad_w_VD = grad_w_VD.to(weight_VD.dtype)
        ctx.save_for_backward(grad_h_SD, grad_w_VD)
        ctx.mark_non_differentiable(losses_S)
        losses_S *= valid_S
        return losses_S.sum() * share, losses_S

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        upstream = grads[0]
        grad_h_SD, grad_w_VD = ctx.saved_tensors
        scaled = [
            None if g is None else g * upstream.to(g.dtype) for g in (grad_h_SD, grad_w_VD)
        ]  # fmt: skip
        return scaled[0], scaled[1], None


def _exponentiate(logits_RV: Tensor) -> tuple[Tensor, Tensor]:
    """Replace logits by exp(logits - row maximum), a block that fits the cache at a time.

    Returns:
        Each row's logsumexp and its sum of exponentials, in fp32.
    """
    n_rows, vocab = logits_RV.shape
    step = n_rows if logits_RV.is_cuda else max(1, BLOCK_ELEMENTS // vocab)
    sums_R = torch.empty(n_rows, dtype=torch.float32, device=logits_RV.device)
    highest_R = torch.empty_like(sums_R)
    for start in range(0, n_rows, step):
        block = logits_RV[start : start + step]
        high = block.amax(dim=1, keepdim=True)
        exponentials = block.float().sub_(high).exp_()
        sums_R[start : start + step] = exponentials.sum(dim=1)
        highest_R[start : start + step] = high.squeeze(1)
        block.copy_(exponentials)
    return sums_R.log().add_(highest_R), sums_R


def linear_cross_entropy(
    h_SD: Tensor, weight_VD: Tensor, labels_S: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the cross entropy of `h @ weight.T` against labels, in fp32, in little memory.

    Args:
        h_SD: Hidden states after the final norm.
        weight_VD: Output layer.
        labels_S: Target tokens; -100 counts for nothing.

    Returns:
        The mean over the labelled tokens (0 if there are none), and the detached loss of every
        token (0 where there is no label).
    """
    if not torch.is_grad_enabled():
        h_SD, weight_VD = h_SD.detach(), weight_VD.detach()
    out = _LinearCrossEntropy.apply(h_SD, weight_VD, labels_S)
    mean, losses_S = out
    return mean, losses_S
