"""Log-likelihoods of token sequences: the one place where evaluation runs a model.

Shapes: B rows, T positions, N scored positions, D hidden, V vocabulary.
Log-softmax is taken in float32 and the output layer applied at the scored positions alone; rows
are sorted by length and batched up to a budget of tokens, padded on the right (nothing looks
ahead, so padding changes nothing). Nothing is cached: other weights give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LOGIT_BYTES = 8_000_000
"""Logits that exist at a time, in bytes of float32: what stays near the cores..."""

LEAST_ROWS = 128
"""...but not fewer positions than fill a matrix product."""


class ScoringModel(Protocol):
    """What a model must offer to be evaluated."""

    context_length: int
    device: str

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return the states that the output layer sees, [B, T, D]."""
        ...

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer, [N, V]."""
        ...


@dataclass(frozen=True)
class Request:
    """Tokens, of which the last `n_scored` are scored given all that stand before each."""

    tokens: Sequence[int]
    n_scored: int


@dataclass(frozen=True)
class Scored:
    """Natural log-probabilities of the scored tokens, and whether each was the likeliest."""

    logprobs: np.ndarray[Any, np.dtype[np.float32]]
    greedy: bool

    @property
    def total(self) -> float:
        """Sum over the tokens."""
        return float(self.logprobs.sum(dtype=np.float64))


def score(
    model: ScoringModel,
    sequences: Sequence[Request],
    *,
    batch_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> list[Scored]:
    """Score sequences; the result has their order.

    Args:
        model: The model.
        sequences: At least one token of context before the scored ones.
        batch_tokens: Most tokens in a batch, padding included; a longer row is a batch of its own.
        progress: Called with the number of sequences scored so far.
    """
    import torch

    for s in sequences:
        if not 0 < s.n_scored < len(s.tokens):
            raise ValueError(f"{s.n_scored} scored tokens in a sequence of {len(s.tokens)}")
    results: dict[int, Scored] = {}
    with torch.inference_mode():
        for batch in _batches([len(s.tokens) - 1 for s in sequences], batch_tokens):
            rows = [sequences[i] for i in batch]
            results.update(zip(batch, _score_batch(model, rows), strict=True))
            if progress is not None:
                progress(len(results))
    return [results[i] for i in range(len(sequences))]


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group indices by falling length: the first batch is the one that needs most memory."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _score_batch(model: ScoringModel, rows: Sequence[Request]) -> Iterator[Scored]:
    import torch

    width = max(len(s.tokens) for s in rows) - 1
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    chosen = np.zeros((len(rows), width), dtype=bool)
    for b, s in enumerate(rows):
        end = len(s.tokens) - 1
        tokens[b, :end] = s.tokens[:-1]
        chosen[b, end - s.n_scored : end] = True
    targets = torch.tensor([t for s in rows for t in s.tokens[-s.n_scored :]], device=model.device)
    hidden_BTD = model.hidden(torch.from_numpy(tokens).to(model.device))
    hidden_ND = hidden_BTD[torch.from_numpy(chosen).to(model.device)]
    logprobs, greedy = _token_logprobs(model, hidden_ND, targets)
    start = 0
    for s in rows:
        end = start + s.n_scored
        yield Scored(logprobs[start:end], bool(greedy[start:end].all()))
        start = end


def _token_logprobs(
    model: ScoringModel, hidden_ND: Tensor, targets_N: Tensor
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import torch

    logprobs, greedy = [], []
    step = 1  # the first row tells how wide the vocabulary is
    start = 0
    while start < len(targets_N):
        logits_NV = model.logits(hidden_ND[start : start + step]).float()
        at_target = logits_NV.gather(1, targets_N[start : start + step, None])[:, 0]
        # logsumexp by hand, in place: a third of the time that logsumexp and argmax take.
        top = logits_NV.amax(1)
        log_sum = logits_NV.sub_(top[:, None]).exp_().sum(1).log_().add_(top)
        logprobs.append((at_target - log_sum).cpu())
        greedy.append((at_target >= top).cpu())
        start += step
        step = max(LEAST_ROWS, LOGIT_BYTES // (4 * logits_NV.shape[1]))
    return torch.cat(logprobs).numpy(), torch.cat(greedy).numpy()
