"""Samples in, results out: what a loaded model does with a chunk.

A result is JSON: of a choice `logprobs`, `tokens` and `greedy`, one a continuation; of a generated
answer `output` and `tokens`; of a document `bits` and `tokens`; of experts the choices by layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from openseek.evaluation.models import TextCodec
from openseek.evaluation.samples import Sample
from openseek.evaluation.scorer import Request, ScoringModel, score

Json = dict[str, Any]
Spans = tuple[list[int], list[list[int]]]


def compute(
    model: ScoringModel, codec: TextCodec, samples: Sequence[Sample], *, batch_tokens: int
) -> dict[str, Json]:
    """Compute the results of samples, by their keys.

    Args:
        model: The model.
        codec: Its tokenizer.
        samples: Of any kinds.
        batch_tokens: Most tokens in a batch.
    """
    of: dict[str, list[Sample]] = {}
    for s in samples:
        of.setdefault(s.kind, []).append(s)
    results: dict[str, Json] = {}
    for kind, work in (
        ("choice", _choices), ("document", _documents), ("generate", _generated),
        ("experts", _experts),
    ):  # fmt: skip
        if kind in of:
            found = work(model, codec, of[kind], batch_tokens)
            results.update((s.key, r) for s, r in zip(of[kind], found, strict=True))
    return results


def _choices(
    model: ScoringModel, codec: TextCodec, samples: Sequence[Sample], batch_tokens: int
) -> list[Json]:
    encoded = encode_choices(codec, samples)
    requests: list[Request] = []
    spans = []
    for context, choices in encoded:
        made = choice_requests(context, choices, codec, model.context_length)
        spans.append(slice(len(requests), len(requests) + len(made)))
        requests.extend(made)
    scored = score(model, requests, batch_tokens=batch_tokens)
    return [
        {
            "logprobs": [s.total for s in scored[span]],
            "tokens": [r.n_scored for r in requests[span]],
            "greedy": [s.greedy for s in scored[span]],
        }
        for span in spans
    ]


def encode_choices(codec: TextCodec, samples: Sequence[Sample]) -> list[Spans]:
    """Tokenise contexts and continuations, each apart, all in one call.

    A space at the end of a context moves into the continuations, as in lighteval.
    """
    texts: list[str] = []
    for s in samples:
        if s.spans is None:
            context = s.context.rstrip()
            space = s.context[len(context) :]
            texts.extend((context, *(space + c for c in s.continuations)))
    encoded = iter(codec.encode(texts))
    found: list[Spans] = []
    for s in samples:
        if s.spans is None:
            found.append((next(encoded), [next(encoded) for _ in s.continuations]))
        else:
            found.append((list(s.spans[0]), [list(c) for c in s.spans[1]]))
    return found


def choice_requests(
    context: Sequence[int], choices: Sequence[Sequence[int]], codec: TextCodec, context_length: int
) -> list[Request]:
    """Put the codec's prefix, a context and each continuation together.

    A context that is too long loses its beginning.
    """
    longest = context_length + 1
    requests = []
    for choice in choices:
        tail = list(choice[-(longest - 1) :])
        room = longest - len(tail) - len(codec.prefix)
        kept = context[max(0, len(context) - room) :] if room > 0 else []
        head = [*codec.prefix, *kept][-(longest - len(tail)) :]
        if not head:
            head = [codec.start if codec.start is not None else tail[0]]
        requests.append(Request([*head, *tail], len(tail)))
    return requests


def _documents(
    model: ScoringModel, codec: TextCodec, samples: Sequence[Sample], batch_tokens: int
) -> list[Json]:
    from openseek.evaluation.heldout import windows

    encoded = codec.encode([s.context for s in samples])
    requests, owners = [], []
    for i, tokens in enumerate(encoded):
        for window in windows(tokens, codec.start, model.context_length):
            requests.append(Request(window, len(window) - 1))
            owners.append(i)
    bits = [0.0] * len(samples)
    for i, result in zip(owners, score(model, requests, batch_tokens=batch_tokens), strict=True):
        bits[i] -= result.total / math.log(2)
    return [{"bits": b, "tokens": len(t)} for b, t in zip(bits, encoded, strict=True)]


def _generated(
    model: Any, codec: TextCodec, samples: Sequence[Sample], batch_tokens: int
) -> list[Json]:
    from openseek.evaluation.generation import generate_texts

    return generate_texts(model, codec, samples)


def _experts(model: Any, codec: TextCodec, samples: Sequence[Sample], _: int) -> list[Json]:
    from openseek.evaluation.specialisation import count_choices, first_windows

    encoded = codec.encode([s.context for s in samples])
    length = model.context_length
    return [
        count_choices(model.model, first_windows(tokens, codec.start, length, s.max_tokens))
        for s, tokens in zip(samples, encoded, strict=True)
    ]
