"""Transformers as judges: sequence classifiers for quality, causal models for perplexity.

Texts are batched by length, and every batch is padded to its own longest text only, so that the
order of the input does not matter for speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import FluencyConfig, TransformerScorerConfig
from openseek.errors import ConfigError

_CHARS_PER_TOKEN = 16  # no usual tokenizer packs more: text beyond this is not even tokenised


class TransformerScorer:
    """A sequence classifier: one output is a regression, several give their expected class."""

    def __init__(self, config: TransformerScorerConfig) -> None:
        self.name = config.name
        self.config = config
        self._model, self.tokenizer, self._device = _load(
            "AutoModelForSequenceClassification", config.model, config.revision, config.device
        )

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return scores clamped to [low, high] of the configuration; blank texts get low."""
        import torch

        config = self.config
        out = np.full(len(texts), config.low, np.float32)
        for rows in _batches(texts, config.batch_size):
            batch = _encode(self.tokenizer, [texts[i] for i in rows], config.max_tokens)
            with torch.inference_mode():
                logits = self._model(**batch.to(self._device)).logits.float()
            if logits.shape[-1] > 1:
                grades = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
                logits = (logits.softmax(-1) * grades).sum(-1, keepdim=True)
            out[rows] = logits[:, 0].cpu().numpy()
        return np.clip(out, config.low, config.high)

    def score_buffer(self, buf: NDArray, offsets: NDArray) -> NDArray[np.float32]:
        """Return the same for texts in Arrow's layout."""
        return self.score(decode_texts(buf, offsets, _CHARS_PER_TOKEN * self.config.max_tokens))


def causal_bits_per_char(
    buf: NDArray, offsets: NDArray, config: FluencyConfig
) -> NDArray[np.float32]:
    """Measure texts by a causal language model: -log2 p(text) / characters; blank texts get 0.

    The first token is free, as no model is given anything before it.

    Raises:
        ConfigError: The model cannot be loaded, or its tokenizer is a slow one.
    """
    import torch

    model, tokenizer, device = _load("AutoModelForCausalLM", config.model, "main", "")
    if not tokenizer.is_fast:
        raise ConfigError(
            f"the tokenizer of {config.model!r} does not tell where its tokens end",
            where="quality.fluency.model",
            mend="Use a model whose folder has a tokenizer.json.",
        )
    texts = decode_texts(buf, offsets, config.read_chars)
    out = np.zeros(len(texts), np.float32)
    for rows in _batches(texts, config.batch_size):
        batch = _encode(tokenizer, [texts[i] for i in rows], config.max_tokens, offsets=True)
        chars = batch.pop("offset_mapping")[..., 1].amax(-1).numpy()  # where the last token ends
        batch = batch.to(device)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        nats = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), ids[:, 1:], reduction="none"
        )
        total = (nats * mask[:, 1:]).sum(-1).cpu().numpy() / math.log(2)
        out[rows] = total / np.maximum(chars, 1)
    return out


def decode_texts(buf: NDArray, offsets: NDArray, limit: int) -> list[str]:
    """Return texts in Arrow's layout as strings, cut to so many characters."""
    return [
        buf[a : min(b, a + 4 * limit)].tobytes().decode("utf-8", "ignore")[:limit]
        for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]


def _batches(texts: Sequence[str], size: int) -> Iterator[list[int]]:
    filled = [i for i, text in enumerate(texts) if text.strip()]
    order = sorted(filled, key=lambda i: (len(texts[i]), i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _encode(tokenizer: Any, texts: list[str], max_tokens: int, *, offsets: bool = False) -> Any:
    cut = [text[: _CHARS_PER_TOKEN * max_tokens] for text in texts]
    return tokenizer(
        cut, truncation=True, max_length=max_tokens, padding=True, padding_side="right",
        return_tensors="pt", return_token_type_ids=False, return_offsets_mapping=offsets,
    )  # fmt: skip


@lru_cache(maxsize=4)
def _load(kind: str, model: str, revision: str, device: str) -> tuple[Any, Any, str]:
    import torch
    import transformers

    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
        network = getattr(transformers, kind).from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot load the scorer model {model!r}: {error}",
            where="score.scorers",
            mend="Give a folder with config.json, weights and tokenizer, or a hub id that this "
            "machine can reach.",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return network.to(where).eval(), tokenizer, where
