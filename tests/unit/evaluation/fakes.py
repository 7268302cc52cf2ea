"""Scoring models whose answers are known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class Uniform:
    """Gives every token the same probability."""

    context_length = 32
    device = "cpu"

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        return torch.zeros(*tokens_BT.shape, 1)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return torch.zeros(len(hidden_ND), self.vocabulary)


class Noise(Uniform):
    """Gives random probabilities that depend on all tokens so far: no idea of anything."""

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        weights = torch.arange(1, tokens_BT.shape[1] + 1)
        return ((tokens_BT * weights * 7919).cumsum(1) % 100_003)[..., None].float()

    def logits(self, hidden_ND: Tensor) -> Tensor:
        steps = torch.arange(1, self.vocabulary + 1)
        return torch.sin(hidden_ND * steps * 12.9898) * 3


class Knowing(Uniform):
    """Continues the sequences it was told, and is sure of it."""

    def __init__(self, vocabulary: int, known: Iterable[Sequence[int]]) -> None:
        super().__init__(vocabulary)
        self.following = {tuple(s[:n]): s[n] for s in known for n in range(1, len(s))}

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        rows = tokens_BT.tolist()
        states = [
            [[float(self.following.get(tuple(r[: t + 1]), -1))] for t in range(len(r))]
            for r in rows
        ]
        return torch.tensor(states)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return 20.0 * (torch.arange(self.vocabulary) == hidden_ND).float()
