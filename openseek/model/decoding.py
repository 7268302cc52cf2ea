"""Greedy decoding with a latent cache.

A token's cache is its latent and one rotary key: `kv_lora_rank + qk_rope_head_dim` values a layer,
whatever the number of heads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from openseek.model.model import OpenSeekModel

Caches = list[list[Tensor]]
"""Of each layer: empty, or [latent_BCL, rotary_BCR]."""


def decode_step(
    model: OpenSeekModel,
    tokens_BT: Tensor,
    positions_BT: Tensor,
    bias_B1TC: Tensor | None,
    caches: Caches,
) -> Tensor:
    """Read new tokens of sequences whose earlier ones are cached.

    Args:
        model: The model, in evaluation mode.
        tokens_BT: The new tokens.
        positions_BT: Their positions.
        bias_B1TC: What is added to the attention scores, for the padding of a batch; None: a token
            sees all cached ones and the new ones up to itself.
        caches: One a layer; extended in place.

    Returns:
        The states after the final norm, [B, T, D].
    """
    packing = model.packing_at(positions_BT, bias_B1TC)
    x_BTD = model.model.embed_tokens(tokens_BT)
    for layer, cache in zip(model.model.layers, caches, strict=True):
        x_BTD = layer.step(x_BTD, packing, cache)  # type: ignore[operator]
    normed: Tensor = model.model.norm(x_BTD)
    return normed


@torch.no_grad()
def generate(
    model: OpenSeekModel,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    vocab_limit: int | None = None,
) -> list[int]:
    """Continue a prompt with the likeliest token at each step.

    Args:
        model: The model; put into evaluation mode for the call.
        prompt: Token ids, at least one.
        max_new_tokens: Tokens to add at most.
        stop_ids: Tokens that end the text; not part of the result.
        vocab_limit: Number of real tokens, so that padding rows of the embedding are never chosen.

    Returns:
        The new tokens.

    Raises:
        ValueError: The prompt is empty.
    """
    if not prompt:
        raise ValueError("the prompt is empty: begin it with the tokenizer's BOS token")
    device = model.output_weight_VD.device
    was_training = model.training
    model.eval()
    caches: Caches = [[] for _ in model.model.layers]
    fresh, position, new = list(prompt), 0, []
    for _ in range(max_new_tokens):
        tokens_BT = torch.tensor([fresh], dtype=torch.long, device=device)
        steps_BT = torch.arange(position, position + len(fresh), device=device)[None]
        x_BTD = decode_step(model, tokens_BT, steps_BT, None, caches)
        logits_V = model.logits(x_BTD[:, -1])[0, :vocab_limit]
        token = int(logits_V.argmax())
        if token in stop_ids:
            break
        new.append(token)
        position += len(fresh)
        fresh = [token]
    model.train(was_training)
    return new
