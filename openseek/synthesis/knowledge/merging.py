"""Names that mean the same become one.

Names are taken in the order of how often they occur; each joins the most similar of the names that
stand so far if the similarity reaches a threshold, else it stands for itself. So the result depends
on the names and their counts alone, not on their order, and merging it again changes nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from openseek.errors import ConfigError

Similar = Callable[[int, Sequence[int]], NDArray[np.float64]]
"""(name, other names) -> similarity to each of them."""


def clean_name(name: str) -> str:
    """Bring a name into one form: width, case of the whole, spaces, end mark."""
    name = " ".join(unicodedata.normalize("NFKC", name).split()).strip(" .。;；,，:：-*#\"'")
    words = name.split(" ")
    return " ".join(w if w.isupper() and len(w) > 1 else w.lower() for w in words)[:80].strip()


def merge_names(
    counts: Mapping[str, int], min_similarity: float, model: str = ""
) -> dict[str, str]:
    """Map each name to the one that stands for it.

    Args:
        counts: Name -> how often it occurs.
        min_similarity: From this similarity two names are one.
        model: Folder of a Hugging Face encoder; empty: by shared pairs of characters.

    Raises:
        ConfigError: The encoder cannot be loaded.
    """
    names = sorted(counts, key=lambda n: (-counts[n], n))
    if not names:
        return {}
    similar = _by_embedding(names, model) if model else _by_letters(names)
    standing: list[int] = []
    chosen: dict[str, str] = {}
    for i, name in enumerate(names):
        likeness = similar(i, standing)
        best = int(likeness.argmax()) if len(likeness) else -1
        if best >= 0 and likeness[best] >= min_similarity:
            chosen[name] = names[standing[best]]
        else:
            standing.append(i)
            chosen[name] = name
    return chosen


def letter_pairs(name: str) -> frozenset[str]:
    """Return the pairs of neighbouring characters of a name, with its ends marked."""
    text = f"^{name.lower()}$"
    return frozenset(text[i : i + 2] for i in range(len(text) - 1))


def dice(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Dice coefficient of two sets, 2 |A and B| / (|A| + |B|)."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


def _by_letters(names: Sequence[str]) -> Similar:
    pairs = [letter_pairs(name) for name in names]

    def similar(i: int, others: Sequence[int]) -> NDArray[np.float64]:
        return np.array([dice(pairs[i], pairs[j]) for j in others], np.float64)

    return similar


def _by_embedding(names: Sequence[str], model: str) -> Similar:
    vectors_ND = _embed(names, model)

    def similar(i: int, others: Sequence[int]) -> NDArray[np.float64]:
        return np.asarray(vectors_ND[list(others)] @ vectors_ND[i], np.float64)

    return similar


def _embed(names: Sequence[str], model: str) -> NDArray[np.float64]:
    """Return the mean of the last hidden states of each name, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        encoder = AutoModel.from_pretrained(model, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no encoder: {error}", where="synthesis.knowledge.embedding_model",
            mend="Give the folder of a Hugging Face model, or leave it empty.",
        ) from error  # fmt: skip
    found = []
    with torch.inference_mode():
        for name in names:  # one by one: no padding that could change a vector
            tokens = tokenizer(name, return_tensors="pt", truncation=True, max_length=64)
            states_TD = encoder(**tokens).last_hidden_state[0]
            found.append(states_TD.mean(0).double().numpy())
    vectors_ND = np.stack(found)
    norms_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.maximum(norms_N, 1e-12), np.float64)
