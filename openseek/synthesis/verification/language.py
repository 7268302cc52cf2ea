"""A row must be in the language of its document, by the data layer's language model."""

from __future__ import annotations

import re

from openseek.cleaning.language import identify

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|https?://\S+", re.S)


def other_language(text: str, lang: str, min_chars: int) -> tuple[str, float]:
    """Tell whether a text is in another language than the one that was asked for.

    Code and formulas, which are in no language, are left out; so are texts of fewer than
    `min_chars` characters (a Chinese character counts as two), which tell too little.

    Args:
        text: A text.
        lang: `en` or `zh`.
        min_chars: Characters from which on a text tells its language.

    Returns:
        The language that was found, and the probability that it is not the asked one; the asked
        one and 0 where there is nothing to go by.
    """
    prose = _CODE.sub(" ", text)
    if len(prose.strip()) * (2 if lang == "zh" else 1) < min_chars:
        return lang, 0.0
    found, probability = identify(prose)
    return found, 0.0 if found in (lang, "und") else probability
