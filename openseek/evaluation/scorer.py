"""Log-likelihoods of token sequences: the one place where evaluation runs a model.

Shapes: B rows, T positions, N positions before scored tokens, D hidden, V vocabulary.
Log-softmax is taken in float32 and the output layer applied where a scored token follows, once for
all that follow the same beginning; sequences that share their beginning are branches of one row
(`trees`), rows are sorted by length and batched up to a budget of tokens, padded on the right
(nothing looks ahead, so padding changes nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from openseek.evaluation.trees import Tree, batches, grow

if TYPE_CHECKING:
    from torch import Tensor

LOGIT_BYTES = 8_000_000
"""Logits that exist at a time, in bytes of float32: what stays near the cores..."""

LEAST_ROWS = 128
"""...but not fewer positions than fill a matrix product."""


class ScoringModel(Protocol):
    """What a model must offer to be evaluated.

    One that can also read branches has `branch_tokens` above 0, the longest such row, and
    `hidden_branched(tokens_BT, depths_BT, bias_B1TT)`.
    """

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
    limit = min(getattr(model, "branch_tokens", 0), batch_tokens)
    trees = grow([list(s.tokens[:-1]) for s in sequences], limit)
    results: dict[int, Scored] = {}
    with torch.inference_mode():
        for batch in batches(trees, batch_tokens):
            results.update(_score_batch(model, batch, sequences))
            if progress is not None:
                progress(len(results))
    return [results[i] for i in range(len(sequences))]


def _score_batch(
    model: ScoringModel, trees: Sequence[Tree], sequences: Sequence[Request]
) -> Iterator[tuple[int, Scored]]:
    import torch

    width = max(len(t.tokens) for t in trees)
    owners: list[tuple[int, int]] = []
    at: list[int] = []
    targets: list[int] = []
    for b, tree in enumerate(trees):
        for i, path in tree.paths:
            n = sequences[i].n_scored
            owners.append((i, n))
            at.extend(b * width + slot for slot in path[-n:])
            targets.extend(sequences[i].tokens[-n:])
    unique_N, which = np.unique(np.array(at, dtype=np.int64), return_inverse=True)
    hidden_BTD = _hidden(model, trees, width)
    hidden_ND = hidden_BTD.flatten(0, 1)[torch.from_numpy(unique_N).to(model.device)]
    logprobs, greedy = _token_logprobs(model, hidden_ND, which, np.array(targets))
    start = 0
    for i, n in owners:
        yield i, Scored(logprobs[start : start + n], bool(greedy[start : start + n].all()))
        start += n


def _hidden(model: ScoringModel, trees: Sequence[Tree], width: int) -> Tensor:
    import torch

    tokens_BT = np.zeros((len(trees), width), dtype=np.int64)
    for b, tree in enumerate(trees):
        tokens_BT[b, : len(tree.tokens)] = tree.tokens
    given = torch.from_numpy(tokens_BT).to(model.device)
    if not any(t.branched for t in trees):
        return model.hidden(given)
    depths_BT = np.zeros((len(trees), width), dtype=np.int64)
    for b, tree in enumerate(trees):
        depths_BT[b, : len(tree.tokens)] = tree.depths
    seen_BTT = torch.from_numpy(np.stack([t.seen(width) for t in trees])).to(model.device)
    hidden: Tensor = model.hidden_branched(  # type: ignore[attr-defined]
        given, torch.from_numpy(depths_BT).to(model.device), seen_BTT[:, None]
    )
    return hidden


def _token_logprobs(
    model: ScoringModel, hidden_ND: Tensor, which: np.ndarray[Any, Any], targets: Any
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Look tokens up: token k follows position `which[k]` of the N and is `targets[k]`."""
    import torch

    logprobs = np.empty(len(which), dtype=np.float32)
    greedy = np.empty(len(which), dtype=bool)
    order = np.argsort(which, kind="stable")
    step = 1  # the first row tells how wide the vocabulary is
    start = 0
    while start < len(hidden_ND):
        logits_NV = model.logits(hidden_ND[start : start + step]).float()
        ends = np.searchsorted(which[order], (start, start + step))
        tokens = order[ends[0] : ends[1]]
        row = torch.from_numpy(which[tokens] - start).to(logits_NV.device)
        at_target = logits_NV[row, torch.from_numpy(targets[tokens]).to(logits_NV.device)]
        # logsumexp by hand, in place: a third of the time that logsumexp and argmax take.
        top_N = logits_NV.amax(1)
        log_sum_N = logits_NV.sub_(top_N[:, None]).exp_().sum(1).log_().add_(top_N)
        logprobs[tokens] = (at_target - log_sum_N[row]).cpu().numpy()
        greedy[tokens] = (at_target >= top_N[row]).cpu().numpy()
        start += step
        step = max(LEAST_ROWS, LOGIT_BYTES // (4 * logits_NV.shape[1]))
    return logprobs, greedy
