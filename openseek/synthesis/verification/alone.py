"""A query must make sense to a reader who has not got the text that it was made from."""

from __future__ import annotations

import re

_THINGS = (
    "code|function|method|class|program|snippet|output|proof|formula|equation|expression|statement|"
    "list|diagram|graph|chart|image|data|example|question|problem|definition|description|discussion"
)
_LEANS_EN = re.compile(
    r"\b(?:the|this|that) (?:text|passage|document|article|author|paragraph|section|excerpt|"
    r"snippet|chapter|page|figure|table|example)s?\b|"
    r"\b(?:the|as|see|shown|described|mentioned|given|listed|discussed|stated) (?:above|below)\b|"
    rf"\b(?:{_THINGS})s? (?:above|below)\b|"
    r"\b(?:above|below) ?(?:[?.,:;]|$)|\baforementioned\b|"
    r"\baccording to (?:it|this|the (?:text|passage|document|article))\b|"
    r"^(?:what|who|why|how|when|where)(?: is| are| was| were| does| do| did)? "
    r"(?:it|this|that|these|those|they|he|she|there)\b(?! that\b)",
    re.I,
)
_LEANS_ZH = re.compile(
    "本文|文中|上文|下文|上述|该文|原文|作者|这段|这篇|本节|本章|本书|如图|"
    "(?:什么是|为什么|如果)(?:这|那|它|他|她|其)"
)


def leans_on_text(query: str, lang: str) -> bool:
    """Tell whether a query points at a text that its reader does not have."""
    return bool((_LEANS_ZH if lang == "zh" else _LEANS_EN).search(query))
