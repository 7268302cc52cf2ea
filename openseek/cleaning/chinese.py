"""Traditional to Simplified Chinese with OpenCC."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from openseek.errors import ConfigError


def simplify(text: str, scheme: str = "t2s") -> str:
    """Convert Traditional to Simplified Chinese, phrase by phrase.

    Args:
        text: A text; what is not Chinese stays as it is.
        scheme: OpenCC conversion: t2s, tw2s, hk2s, tw2sp.

    Raises:
        ConfigError: Another package hides OpenCC's compiled module.
    """
    return str(_converter(scheme).convert(text))


@lru_cache(maxsize=4)
def _converter(scheme: str) -> Any:
    import opencc

    # opencc-py and opencc-python-reimplemented install a slow `opencc` over the compiled one.
    if not hasattr(opencc, "opencc_clib"):
        raise ConfigError(
            "the installed `opencc` is not the compiled OpenCC (30 times slower, other results)",
            where=str(getattr(opencc, "__file__", "opencc")),
            mend="pip uninstall opencc-py opencc-python-reimplemented, "
            "then pip install --force-reinstall opencc.",
        )
    return opencc.OpenCC(scheme)
