"""What a synthetic row must pass, cheap checks first; every rejection has one reason."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from openseek.config.synthesis import VerificationConfig
from openseek.quality.heuristic import pack
from openseek.synthesis.rows import Row, render

_LEANS_EN = re.compile(
    r"\b(?:the|this|that) (?:text|passage|document|article|author|paragraph|section|excerpt|"
    r"snippet|chapter|page|figure|table|example)s?\b|\b(?:above|below|aforementioned)\b|"
    r"\baccording to (?:it|this|the (?:text|passage|document|article))\b|"
    r"^(?:what|who|why|how|when|where)(?: is| are| was| were| does| do| did)? "
    r"(?:it|this|that|these|those|they|he|she|there)\b(?! that\b)",
    re.I,
)
_LEANS_ZH = re.compile(
    "本文|文中|上文|下文|上述|该文|原文|作者|这段|这篇|本节|本章|本书|如图|"
    "(?:什么是|为什么|如果)(?:这|那|它|他|她|其)"
)
_SHINGLE = 3
_HASHES, _BANDS = 24, 8  # 8 bands of 3: a pair of Jaccard 0.8 is found with probability 0.997
_MULTIPLIERS = np.random.Generator(np.random.PCG64(20240517)).integers(
    1, 2**63, size=(_HASHES, 1), dtype=np.uint64
) | np.uint64(1)


def check_row(
    row: Row, document: str, lang: str, config: VerificationConfig, *, copies: bool
) -> str:
    """Return the reason to reject a row, or an empty string.

    Args:
        row: The row.
        document: What it was made from.
        lang: `en` or `zh`.
        config: Limits.
        copies: Whether its teacher copies by nature (see `check_copy_extractive`).
    """
    short = 2 if lang == "zh" else 1  # a Chinese character says about twice as much as a letter
    if (
        not config.min_query_chars <= len(row.query) * short
        or len(row.query) > config.max_query_chars
    ):
        return "query_length"
    if len(row.answer) * short < config.min_answer_chars:
        return "answer_length"
    if row.steps and len(row.steps) < config.min_steps:
        return "too_few_steps"
    if len(render(row, lang)) > config.max_chars:
        return "too_long"
    if leans_on_text(row.query, lang):
        return "query_leans_on_text"
    if row.query.strip().lower() == row.answer.strip().lower():
        return "answer_is_query"
    if config.check_copy_extractive or not copies:
        told = "\n".join([*row.steps, row.answer])
        if copy_share(told, document, config.copy_ngram) > config.max_copy:
            return "copied"
    return ""


def leans_on_text(query: str, lang: str) -> bool:
    """Tell whether a query points at a text that its reader does not have."""
    return bool((_LEANS_ZH if lang == "zh" else _LEANS_EN).search(query))


def copy_share(text: str, document: str, n: int) -> float:
    """Return the share of a text's token n-grams that occur in a document; 0 if it has none."""
    mine, theirs = _shingles(text, n), _shingles(document, n)
    if not len(mine):
        return 0.0
    return float(np.isin(mine, theirs).mean())


def _shingles(text: str, n: int) -> NDArray[np.uint64]:
    from openseek.quality.kernels import tokenize, window_hashes

    buf, offsets = pack([text])
    hashes = tokenize(buf, 0, int(offsets[1]))[0]
    return np.unique(window_hashes(hashes, min(n, max(1, len(hashes)))))


class NearDuplicates:
    """Remember rows, and tell whether a new one repeats an earlier one.

    MinHash bands find candidates; their true Jaccard similarity decides.

    Args:
        threshold: Similarity from which a row is a near-duplicate.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._rows: list[NDArray[np.uint64]] = []
        self._bands: dict[tuple[int, bytes], list[int]] = {}

    def seen(self, text: str) -> bool:
        """Return whether the text repeats an earlier one; remember it if it does not."""
        shingles = _shingles(text, _SHINGLE)
        if not len(shingles):
            return False
        signature = (_MULTIPLIERS * shingles[None, :] >> np.uint64(32)).min(axis=1)
        keys = [(b, signature[3 * b : 3 * b + 3].tobytes()) for b in range(_BANDS)]
        candidates = sorted({i for key in keys for i in self._bands.get(key, ())})
        for other in (self._rows[i] for i in candidates):
            shared = len(np.intersect1d(shingles, other, assume_unique=True))
            if shared >= self.threshold * (len(shingles) + len(other) - shared):
                return True
        for key in keys:
            self._bands.setdefault(key, []).append(len(self._rows))
        self._rows.append(shingles)
        return False
