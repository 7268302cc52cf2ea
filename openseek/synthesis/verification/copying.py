"""How much of a row is copied from the document that it was made from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openseek.quality.heuristic import pack


def copy_share(text: str, document: str, n: int) -> float:
    """Return the share of a text's token n-grams that occur in a document; 0 if it has none.

    Tokens are words, or single Chinese characters. A text of fewer than n tokens is one n-gram.
    """
    mine, theirs = _shingles(text, n), _shingles(document, n)
    if not len(mine):
        return 0.0
    return float(np.isin(mine, theirs).mean())


def _shingles(text: str, n: int) -> NDArray[np.uint64]:
    from openseek.quality.kernels import tokenize, window_hashes

    buf, offsets = pack([text])
    hashes = tokenize(buf, 0, int(offsets[1]))[0]
    return np.unique(window_hashes(hashes, min(n, max(1, len(hashes)))))
