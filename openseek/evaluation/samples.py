"""The unit of evaluation: one sample, its key, and chunks of samples of all tasks.

A sample is what the model is asked: a context and its continuations, a prompt to go on from, or a
held-out document. Its key is a digest of just that, so that a sample's result can be found again
whichever task, run or chunk asks for it; a task's digest is that of its samples' keys in order.
Chunks mix tasks: a task of a hundred subjects costs what its items cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from openseek.evaluation.catalog import BENCHMARKS, Item

Json = dict[str, Any]
Kind = Literal["choice", "generate", "document", "experts"]

BYTES_PER_TOKEN = 3
"""A guess for planning; a worker lays its chunk out by real lengths."""

CHUNK_BATCHES = 4
"""Batches of tokens in a chunk: what a kill can lose, and what two processes can share."""

GENERATED_ROWS = 32
"""Most prompts of a chunk that are continued together."""


@dataclass(frozen=True)
class Sample:
    """What a model is asked.

    Attributes:
        kind: choice: log-likelihoods of continuations; generate: greedy text; document: bits;
            experts: how often each routed expert is chosen in a document.
        context: What stands first, or the document.
        continuations: Of a choice.
        spans: Tokens of context and continuations, where cutting text would change them.
        stops: Texts that end generation; not part of its output.
        max_tokens: Most tokens generated, or of the document looked at.
    """

    kind: Kind
    context: str
    continuations: tuple[str, ...] = ()
    spans: tuple[tuple[int, ...], tuple[tuple[int, ...], ...]] | None = None
    stops: tuple[str, ...] = ()
    max_tokens: int = 0

    @cached_property
    def key(self) -> str:
        """Identity of the question."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    @property
    def size(self) -> int:
        """Tokens, about."""
        if self.spans is not None:
            return len(self.spans[0]) + sum(map(len, self.spans[1]))
        texts = (self.context, *self.continuations)
        return sum(len(t.encode("utf-8", "surrogatepass")) for t in texts) // BYTES_PER_TOKEN + 1

    def to_json(self) -> Json:
        """Dump for a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Json) -> Sample:
        """Read what `to_json` wrote, also after JSON turned tuples into lists."""
        spans = raw["spans"]
        if spans is not None:
            spans = tuple(spans[0]), tuple(tuple(s) for s in spans[1])
        return cls(
            raw["kind"], raw["context"], tuple(raw["continuations"]), spans,
            tuple(raw["stops"]), raw["max_tokens"],
        )  # fmt: skip


def task_sample(task: str, item: Item) -> Sample:
    """Put an item to the model as its task says; cloze items carry their tokens."""
    benchmark: Any = BENCHMARKS.get(task)
    if benchmark is None:
        context = tuple(int(t) for t in item.meta["context"].split())
        options = item.meta["continuations"].split("|")
        spans = tuple(tuple(int(t) for t in option.split()) for option in options)
        return Sample("choice", item.query, tuple(item.choices), (context, spans))
    query, continuations = benchmark.prompt(item)
    if getattr(benchmark, "kind", "choice") == "generate":
        return Sample("generate", query, stops=benchmark.stops, max_tokens=benchmark.max_tokens)
    return Sample("choice", query, tuple(continuations))


def digest(keys: Iterable[str]) -> str:
    """Digest a task: its samples' keys in order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]


def chunks(samples: Iterable[Sample], batch_tokens: int) -> list[list[Sample]]:
    """Cut samples into chunks of bounded size: alike in kind and length, each sample once.

    A function of the set of samples, so that a run that goes on makes the same chunks, and its
    batches round in the same way.
    """
    unique = {s.key: s for s in samples}
    groups: dict[Any, list[Sample]] = {}
    for s in unique.values():
        groups.setdefault((s.kind, s.stops, s.max_tokens), []).append(s)
    found = [
        chunk
        for group in groups.values()
        for chunk in _cut(sorted(group, key=lambda s: (-s.size, s.key)), batch_tokens)
    ]
    # The dearest first: what is left for the end is small, and no process waits long for another.
    return sorted(found, key=lambda chunk: -sum(map(_cost, chunk)))


def _cost(s: Sample) -> int:
    generated = s.max_tokens if s.kind == "generate" else 0
    return s.size + 8 * generated  # a generated token costs that of several read ones


def _cut(group: Sequence[Sample], batch_tokens: int) -> Iterable[list[Sample]]:
    chunk: list[Sample] = []
    size = 0
    for s in group:
        if s.kind == "generate":
            full = len(chunk) >= GENERATED_ROWS
        else:
            full = size + s.size > CHUNK_BATCHES * batch_tokens
        if chunk and full:
            yield chunk
            chunk, size = [], 0
        chunk.append(s)
        size += s.size
    if chunk:
        yield chunk
