"""Greedy answers in batches, with a cache of keys and values, up to a stop text.

Prompts of one group (same stops and length) are padded on the left and go on together; a row that
has ended leaves the batch once half of the rows have. The result is what each row gives alone and
without a cache, token by token (up to ties within rounding).

Shapes: B rows, T new positions, C cached positions, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from openseek.evaluation.models import TextCodec
from openseek.evaluation.samples import GENERATED_ROWS, Sample

if TYPE_CHECKING:
    from torch import Tensor

Json = dict[str, Any]

CACHE_TOKENS = 16_384
"""Most cached positions of a batch: under 1 GB for a model of 135M weights without MLA."""


class GeneratingModel(Protocol):
    """What a model must offer to generate."""

    context_length: int
    device: str

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer, [N, V]."""
        ...

    def new_cache(self) -> Any:
        """Return an empty cache."""
        ...

    def step(self, tokens_BT: Tensor, depths_BT: Tensor, seen_B1TC: Tensor, cache: Any) -> Tensor:
        """Read new tokens after the cached ones, which it extends; returns the states [B, T, D]."""
        ...

    def keep_rows(self, cache: Any, rows_N: Tensor) -> None:
        """Drop all other rows of a cache."""
        ...


def generate_texts(
    model: GeneratingModel, codec: TextCodec, samples: Sequence[Sample]
) -> list[Json]:
    """Continue prompts.

    Args:
        model: The model.
        codec: Its tokenizer.
        samples: Of kind `generate`; a prompt that is too long loses its beginning.

    Returns:
        {"output": text before the first stop, "tokens": their number with the stop} for each.
    """
    groups: dict[Any, list[int]] = {}
    for i, s in enumerate(samples):
        groups.setdefault((s.stops, s.max_tokens), []).append(i)
    encoded = codec.encode([s.context for s in samples])
    results: dict[int, Json] = {}
    for (stops, max_tokens), members in groups.items():
        room = max(1, model.context_length - max_tokens)
        prompts = {i: prompt_tokens(codec, encoded[i], room) for i in members}
        for batch in _batches(prompts, max_tokens):
            last = [prompts[i][-1] for i in batch]

            def text(row: int, new: Sequence[int], last: Sequence[int] = last) -> str:
                # With the token before it, since some tokenizers drop a space at the beginning.
                head = codec.decode([last[row]])
                return codec.decode([last[row], *new])[len(head) :]

            def ended(row: int, new: Sequence[int], stops: Any = stops, text: Any = text) -> bool:
                return new[-1] == codec.end or any(stop in text(row, new) for stop in stops)

            limit = min(max_tokens, max(1, model.context_length - len(prompts[batch[0]])))
            found = generate_tokens(
                model, [prompts[i] for i in batch], limit, ended, codec.vocab_size
            )
            for row, (i, new) in enumerate(zip(batch, found, strict=True)):
                kept = new[:-1] if new and new[-1] == codec.end else new
                results[i] = {"output": cut(text(row, kept), stops), "tokens": len(new)}
    return [results[i] for i in range(len(samples))]


def prompt_tokens(codec: TextCodec, tokens: Sequence[int], room: int) -> list[int]:
    """Put the codec's prefix before the last tokens of a prompt, at most `room` in all."""
    kept = max(1, room - len(codec.prefix))
    found = [*codec.prefix, *tokens[-kept:]]
    return found or [codec.start if codec.start is not None else 0]


def cut(text: str, stops: Sequence[str]) -> str:
    """Return what stands before the first stop."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _batches(prompts: dict[int, list[int]], max_tokens: int) -> list[list[int]]:
    """Group prompts by falling length, within the cache's budget."""
    batches: list[list[int]] = []
    for i in sorted(prompts, key=lambda i: (-len(prompts[i]), i)):
        width = max_tokens + len(prompts[batches[-1][0]] if batches else prompts[i])
        rows = len(batches[-1]) + 1 if batches else 1
        if not batches or rows > GENERATED_ROWS or rows * width > CACHE_TOKENS:
            batches.append([])
        batches[-1].append(i)
    return batches


def generate_tokens(
    model: GeneratingModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    ended: Callable[[int, Sequence[int]], bool],
    vocab_size: int | None = None,
) -> list[list[int]]:
    """Continue prompts with the likeliest token at each step.

    Args:
        model: The model.
        prompts: At least one token each.
        max_tokens: Tokens to add at most.
        ended: (row, its new tokens) -> whether that is all; asked after each token.
        vocab_size: Number of real tokens: padding rows of the output layer are never chosen.

    Returns:
        The new tokens of each prompt, with the one at which it ended.
    """
    import torch

    width = max(map(len, prompts))
    pad_B = torch.tensor([width - len(p) for p in prompts], device=model.device)
    fresh_BT = torch.tensor(
        [[0] * (width - len(p)) + list(p) for p in prompts], device=model.device
    )
    rows = list(range(len(prompts)))
    new: list[list[int]] = [[] for _ in prompts]
    done: set[int] = set()
    cache, cached = model.new_cache(), 0
    with torch.inference_mode():
        for _ in range(max_tokens):
            depths_BT, seen = _layout(pad_B, cached, fresh_BT.shape[1])
            hidden_BTD = model.step(fresh_BT, depths_BT, seen, cache)
            cached += fresh_BT.shape[1]
            tokens = model.logits(hidden_BTD[:, -1])[:, :vocab_size].argmax(-1).tolist()
            for row, token in zip(rows, tokens, strict=True):
                if row not in done:
                    new[row].append(token)
                    if ended(row, new[row]):
                        done.add(row)
            left = [k for k, row in enumerate(rows) if row not in done]
            if not left:
                break
            if 2 * len(left) <= len(rows):
                kept = torch.tensor(left, device=model.device)
                model.keep_rows(cache, kept)
                pad_B, rows = pad_B[kept], [rows[k] for k in left]
                tokens = [tokens[k] for k in left]
            fresh_BT = torch.tensor(tokens, device=model.device)[:, None]
    return new


def _layout(pad_B: Tensor, cached: int, fresh: int) -> tuple[Tensor, Tensor]:
    """Return positions [B, T] of new tokens, and which slots [B, 1, T, C] they see."""
    import torch

    slots_C = torch.arange(cached + fresh, device=pad_B.device)
    depths_BT = (slots_C[None, cached:] - pad_B[:, None]).clamp(min=0)
    behind_TC = slots_C[None, :] <= slots_C[cached:, None]
    real_BC = slots_C[None, :] >= pad_B[:, None]
    itself_TC = slots_C[None, :] == slots_C[cached:, None]  # so that padding sees something
    seen_BTC = (behind_TC & real_BC[:, None]) | itself_TC
    return depths_BT, seen_BTC[:, None]
