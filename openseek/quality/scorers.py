"""Scorers as plug-ins: texts in, one raw score each out.

A scorer is anything with a `name` and a `score`; `build_scorer` makes one from its configuration.
Models are loaded once a process and stay loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import (
    FastTextScorerConfig,
    HeuristicScorerConfig,
    ScorerConfig,
    TransformerScorerConfig,
)
from openseek.errors import ConfigError
from openseek.quality.heuristic import heuristic_scores, pack


class Scorer(Protocol):
    """Judges texts; higher is better. Scores need no common scale: the ensemble ranks them."""

    name: str

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one raw score a text."""
        ...


class HeuristicScorer:
    """The weighted text statistics of `openseek.quality.heuristic`."""

    def __init__(self, config: HeuristicScorerConfig) -> None:
        self.name = config.name

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores in [0, 1]."""
        return heuristic_scores(*pack(texts))


class TransformerScorer:
    """A sequence classifier: one output is a regression, several give their expected class.

    Texts are batched by length, and every batch is padded to its own longest text only, so that
    the order of the input does not matter for speed.
    """

    def __init__(self, config: TransformerScorerConfig) -> None:
        self.name = config.name
        self.config = config
        self._model, self._tokenizer, self._device = _load_transformer(
            config.model, config.revision, config.device
        )

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores clamped to [low, high] of the configuration."""
        import torch

        out = np.full(len(texts), self.config.low, np.float32)  # stays so for blank texts
        filled = [i for i, text in enumerate(texts) if text.strip()]
        order = sorted(filled, key=lambda i: (len(texts[i]), i))
        for start in range(0, len(order), self.config.batch_size):
            rows = order[start : start + self.config.batch_size]
            batch = self._tokenizer(
                [texts[i][: 16 * self.config.max_tokens] for i in rows],
                truncation=True,
                max_length=self.config.max_tokens,
                padding=True,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                logits = self._model(**batch).logits.float()
            if logits.shape[-1] > 1:
                grades = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
                logits = (logits.softmax(-1) * grades).sum(-1, keepdim=True)
            out[rows] = logits[:, 0].cpu().numpy()
        return np.clip(out, self.config.low, self.config.high)


class FastTextScorer:
    """The probability that a supervised fastText model gives to one label."""

    def __init__(self, config: FastTextScorerConfig) -> None:
        self.name = config.name
        self.config = config
        self._model = _load_fasttext(config.model)

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return probabilities in [0, 1]; 0 where the model does not know the label."""
        out = np.zeros(len(texts), np.float32)
        for i, text in enumerate(texts):
            line = text[: self.config.max_chars].replace("\n", " ")
            labels, shares = self._model.predict(line, k=-1)
            found = dict(zip(labels, shares, strict=True))
            out[i] = min(1.0, float(found.get(self.config.label, 0.0)))
        return out


def build_scorer(config: ScorerConfig) -> Scorer:
    """Make the scorer that a configuration describes.

    Raises:
        ConfigError: Its model is missing or cannot be read.
    """
    if isinstance(config, TransformerScorerConfig):
        return TransformerScorer(config)
    if isinstance(config, FastTextScorerConfig):
        return FastTextScorer(config)
    return HeuristicScorer(config)


@lru_cache(maxsize=4)
def _load_transformer(model: str, revision: str, device: str) -> tuple[Any, Any, str]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        network = AutoModelForSequenceClassification.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load the scorer model {model!r}: {error}",
            where="score.scorers",
            mend="Give a folder with config.json, weights and tokenizer, or a hub id that this "
            "machine can reach.",
        ) from error
    return network.to(where).eval(), tokenizer, where


@lru_cache(maxsize=4)
def _load_fasttext(path: str) -> Any:
    import fasttext

    try:
        return fasttext.load_model(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot load the fastText model {path!r}: {error}",
            where="score.scorers",
            mend="Give the path of a supervised .bin or .ftz model.",
        ) from error
