"""Expert specialisation: which share of a category's tokens each routed expert gets.

For each layer and category, over held-out tokens: p(e | category) = choices of expert e over all
choices. A layer's divergence of a category is that of p(. | category) from the mean over the
categories, in bits: 0 if the category is routed like all the others, log2 of the number of
categories at most. Their mean over categories is the Jensen-Shannon divergence of the layer: how
much an expert's choice tells of the category.

Shapes: L layers with experts, E experts, T positions, S tokens, K choices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from openseek.evaluation.heldout import Document, windows
from openseek.evaluation.samples import Sample

Json = dict[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]
BATCH_TOKENS = 4096


def count_choices(model: Any, sequences: Sequence[Sequence[int]]) -> dict[str, list[int]]:
    """Count how often each routed expert is chosen; each layer under its name.

    Args:
        model: One of our models; others give an empty result.
        sequences: Token sequences, each at most as long as the context. Only equally long ones
            share a batch: padding would be routed, too.

    Returns:
        Layer -> choices of each expert, [E].
    """
    import torch

    routers = _routers(model)
    counts: dict[str, Array] = {}
    handles = []
    for name, router in routers.items():

        def note(_: Any, __: Any, routing: Any, name: str = name, router: Any = router) -> None:
            chosen = routing.experts_SK.flatten().cpu().numpy()
            n_experts = router.weight.shape[0]
            counts[name] = counts.get(name, 0) + np.bincount(chosen, minlength=n_experts)

        handles.append(router.register_forward_hook(note))
    try:
        with torch.inference_mode():
            for batch in _batches(sequences) if routers else ():
                tokens_BT = torch.tensor(batch, device=next(model.parameters()).device)
                model.hidden_states(tokens_BT)
    finally:
        for handle in handles:
            handle.remove()
    return {name: [int(c) for c in counts[name]] for name in routers if name in counts}


def _routers(model: Any) -> dict[str, Any]:
    from openseek.model.moe import Router

    modules = model.named_modules() if hasattr(model, "hidden_states") else ()
    return {
        name.removesuffix(".gate"): module
        for name, module in modules
        if isinstance(module, Router) and not name.startswith("mtp")
    }


def _batches(sequences: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    by_length: dict[int, list[list[int]]] = {}
    for s in sequences:
        by_length.setdefault(len(s), []).append(list(s))
    batches = []
    for length, members in sorted(by_length.items()):
        size = max(1, BATCH_TOKENS // max(1, length))
        batches += [members[i : i + size] for i in range(0, len(members), size)]
    return batches


def first_windows(
    tokens: Sequence[int], start: int | None, context_length: int, max_tokens: int
) -> list[list[int]]:
    """Cut a document into windows, until `max_tokens` tokens are reached."""
    found: list[list[int]] = []
    left = max_tokens
    for window in windows(tokens, start, context_length):
        if left <= 0:
            break
        kept = window[:-1][:left]  # the last token of a window is only predicted
        found.append(kept)
        left -= len(kept)
    return found


def experts_samples(documents: Sequence[Document], max_tokens: int) -> list[Sample]:
    """Choose documents of a category on which experts are counted.

    Args:
        documents: The category's.
        max_tokens: Of all of them, about: a document is sized by its bytes.
    """
    found: list[Sample] = []
    left = max_tokens
    for d in documents:
        if left <= 0:
            break
        sample = Sample("experts", d.text, max_tokens=left)
        found.append(sample)
        left -= sample.size
    return found


def add_choices(parts: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """Add the counts of several samples up: layer -> choices of each expert, [E]."""
    total: dict[str, list[int]] = {}
    for counts in parts:
        for layer, chosen in counts.items():
            before = total.get(layer, [0] * len(chosen))
            total[layer] = [a + b for a, b in zip(before, chosen, strict=True)]
    return total


def specialisation(counts: Mapping[str, Mapping[str, Sequence[int]]]) -> Json | None:
    """Turn counts into shares and divergences.

    Args:
        counts: Category -> layer -> choices of each expert, [E].

    Returns:
        categories; layers; tokens {category: choices in the first layer}; shares {layer: {category:
        [E]}}; divergence {layer: {category: bits}}; by_layer {layer: mean over categories, bits}.
        None without experts.
    """
    known = {c: layers for c, layers in counts.items() if layers}
    if not known:
        return None
    layers = list(next(iter(known.values())))
    shares = {
        layer: {c: np.asarray(k[layer], float) / max(1, sum(k[layer])) for c, k in known.items()}
        for layer in layers
    }
    divergence = {layer: _divergences(by_category) for layer, by_category in shares.items()}
    return {
        "categories": list(known),
        "layers": layers,
        "choices": {c: sum(k[layers[0]]) for c, k in known.items()},
        "shares": {
            layer: {c: [round(float(x), 5) for x in p] for c, p in by_category.items()}
            for layer, by_category in shares.items()
        },
        "divergence": divergence,
        "by_layer": {layer: sum(d.values()) / len(d) for layer, d in divergence.items()},
    }


def _divergences(shares: Mapping[str, Array]) -> dict[str, float]:
    mean_E = np.mean(list(shares.values()), axis=0)
    found = {}
    for category, p_E in shares.items():
        used = p_E > 0
        found[category] = float(np.sum(p_E[used] * np.log2(p_E[used] / mean_E[used])))
    return found
