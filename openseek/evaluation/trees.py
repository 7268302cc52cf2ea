"""Token sequences that share their beginnings, laid out as trees: what they share is computed once.

The options of an item have the same context, and short options often begin with the same token. A
row holds such sequences as branches: a token sees its ancestors and itself, and its position is
its depth. HellaSwag on one core with 135M weights: 1.9 times the items per second of one row an
option in batches of 1024 tokens (`benchmarks/eval_prefix.py` measures other lengths).

Shapes: T slots of a row, padded to the batch's widest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

TOKEN_PAIRS = 1000
"""Pairs of tokens that attention visits in the time that the other layers take for a token.

A branch pays while what it saves, `shared` tokens, outweighs the pairs with slots that it does not
see: about `2 * row * fresh`. The exact number hardly matters; contexts are much longer."""


@dataclass
class Tree:
    """A row under construction.

    Attributes:
        tokens: Token of each slot.
        depths: Position of each slot.
        segments: (first slot, end, parent slot or -1): runs of slots, each the parent of the next.
        paths: (sequence, its slots from the root).
    """

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    paths: list[tuple[int, list[int]]] = field(default_factory=list)

    @property
    def branched(self) -> bool:
        """Whether a causal mask alone would be wrong."""
        return len(self.segments) > 1

    def add(self, index: int, tokens: Sequence[int], shared: Sequence[int]) -> None:
        """Add a sequence whose first slots exist already."""
        start, depth = len(self.tokens), len(shared)
        fresh = tokens[depth:]
        end = start + len(fresh)
        if fresh:
            self.tokens.extend(fresh)
            self.depths.extend(range(depth, len(tokens)))
            parent = shared[-1] if shared else -1
            if self.segments and self.segments[-1][1] == start == parent + 1:
                first, _, above = self.segments.pop()  # it goes on where the last one ended
                self.segments.append((first, end, above))
            else:
                self.segments.append((start, end, parent))
        self.paths.append((index, [*shared, *range(start, end)]))

    def seen(self, width: int) -> Bools:
        """Return [T, T]: which slots a slot sees; padding sees itself."""
        seen = np.eye(width, dtype=bool)
        for start, end, parent in self.segments:
            if parent >= 0:
                seen[start:end, :start] = seen[parent, :start]
            seen[start:end, start:end] |= np.tri(end - start, dtype=bool)
        return seen


def grow(sequences: Sequence[Sequence[int]], limit: int) -> list[Tree]:
    """Lay sequences out as trees.

    Args:
        sequences: Tokens that the model is to read.
        limit: Most slots of a row with branches; 0: a row each.

    Returns:
        Trees that hold each sequence once.
    """
    if not limit:
        trees = []
        for i, tokens in enumerate(sequences):
            trees.append(Tree())
            trees[-1].add(i, tokens, ())
        return trees
    trees = []
    before: Sequence[int] = []
    # In this order a sequence shares most with the one before it.
    for i in sorted(range(len(sequences)), key=lambda i: (list(sequences[i]), i)):
        tokens = sequences[i]
        shared = _common(before, tokens)
        if trees and _pays(len(trees[-1].tokens), shared, len(tokens) - shared, limit):
            trees[-1].add(i, tokens, trees[-1].paths[-1][1][:shared])
        else:
            trees.append(Tree())
            trees[-1].add(i, tokens, ())
        before = tokens
    return trees


def _pays(row: int, shared: int, fresh: int, limit: int) -> bool:
    if not fresh:
        return True
    return row + fresh <= limit and shared * TOKEN_PAIRS >= 2 * row * fresh


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next((i for i in range(n) if a[i] != b[i]), n)


def batches(trees: Sequence[Tree], batch_tokens: int) -> Iterator[list[Tree]]:
    """Group trees by falling length: the first batch is the one that needs most memory."""
    batch: list[Tree] = []
    for tree in sorted(trees, key=lambda t: (-len(t.tokens), t.paths[0][0])):
        if batch and (len(batch) + 1) * len(batch[0].tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch
