"""Cleaning: what a text is spelt like, which texts are dropped, what is masked in them.

- `spelling`: Unicode, control characters, line ends, mojibake
- `language`: script and fastText; `chinese`: Traditional to Simplified (OpenCC)
- `characters`, `tokens`, `scan`, `repetition`: compiled passes; `stats`: what rules see of them
- `rules`: thresholds on statistics, as configured blocks (`presets/*.yaml`)
- `lines`, `code`, `words`: boilerplate lines, source files, sensitive words
- `formulas`: pages of mathematics, which prose's rules would drop
- `pii`, `secrets`: personal data; keys, tokens and passwords
- `cleaner`: all of it on a batch, in order; `step`: all of it on shards

Alone:

    from openseek.cleaning import clean_text
    clean_text("臺灣的鐵路…", "zh-Hant", "foundation").text

The names are loaded when they are first used, since the compiled parts take a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openseek.cleaning.chinese import simplify
    from openseek.cleaning.cleaner import Cleaner, CleanResult, clean_text
    from openseek.cleaning.language import identify
    from openseek.cleaning.pii import mask_pii
    from openseek.cleaning.spelling import normalise
    from openseek.cleaning.stats import document_stats
    from openseek.cleaning.words import WordMatcher, load_words

_HOMES = {
    "CleanResult": "cleaner",
    "Cleaner": "cleaner",
    "WordMatcher": "words",
    "clean_text": "cleaner",
    "document_stats": "stats",
    "identify": "language",
    "load_words": "words",
    "mask_pii": "pii",
    "normalise": "spelling",
    "simplify": "chinese",
}

__all__ = [
    "CleanResult",
    "Cleaner",
    "WordMatcher",
    "clean_text",
    "document_stats",
    "identify",
    "load_words",
    "mask_pii",
    "normalise",
    "simplify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"openseek.cleaning.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
