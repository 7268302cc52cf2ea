"""MinHash signatures and band keys of texts (Broder 1997; banding: Leskovec et al., chapter 3).

Shingles are runs of `ngram` words; a word is a run of letters and digits, and each Chinese or
Japanese character is one, so that texts in both scripts, and mixed ones, need no other setting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openseek.config.dedup import DedupConfig
from openseek.dedup.kernels import band_keys, digests, jaccard, plainness, shingle_sets, signatures

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def minhash_signatures(
    texts: Sequence[str], config: DedupConfig | None = None
) -> NDArray[np.uint32]:
    """Compute the MinHash signatures of texts.

    The share of equal positions of two signatures estimates the Jaccard similarity of the texts'
    shingles, with a standard error of sqrt(s (1 - s) / (bands * rows)).

    Args:
        texts: Texts.
        config: Shingles, bands, rows and seed; none: the defaults.

    Returns:
        uint32 of shape [texts, bands * rows].
    """
    table, _ = sign(*pack(texts), config or DedupConfig())
    return table


def pack(texts: Sequence[str]) -> tuple[Bytes, Offsets]:
    """Lay texts out as one buffer of UTF-8 and offsets. Lone surrogates become `?`."""
    encoded = [t.encode("utf-8", "replace") for t in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(e) for e in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def sign(
    buf: Bytes, offsets: Offsets, config: DedupConfig
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Compute signatures and numbers of shingles of packed texts."""
    rng = np.random.Generator(np.random.PCG64(config.seed))
    n = config.bands * config.rows
    scale = rng.integers(0, 2**32, n, dtype=np.uint32) | np.uint32(1)
    shift = rng.integers(0, 2**32, n, dtype=np.uint32)
    table, counts = signatures(buf, offsets, config.ngram, scale, shift)
    return table, counts


def keys_of_bands(table: NDArray[np.uint32], config: DedupConfig) -> NDArray[np.uint64]:
    """Hash the bands of signatures: uint64 of shape [texts, bands * groupings]."""
    return np.asarray(band_keys(table, config.bands, config.rows, config.groupings), np.uint64)


def exact_digest(text: str) -> bytes:
    """Digest a text (16 bytes) so that ASCII case and ASCII spaces make no difference."""
    return bytes(digests(*pack([text])).tobytes())


def true_jaccard(left: str, right: str, ngram: int = 5) -> float:
    """Compute the Jaccard similarity of two texts' shingles (by their 64-bit hashes)."""
    values, starts = shingle_sets(*pack([left, right]), ngram)
    return float(jaccard(values[: starts[1]], values[starts[1] :]))


def qualities(
    buf: Bytes, offsets: Offsets, scores: Sequence[float | None] = ()
) -> NDArray[np.int64]:
    """Rank packed texts by quality, larger is better.

    A score in hundredths, which any difference smaller than that leaves to the length, counts more
    than any guess from the text's statistics.

    Args:
        buf: UTF-8 of all texts.
        offsets: Starts of the texts and the end of the last one.
        scores: Their scores, 0 to 1; empty or None: not scored.
    """
    ranks = np.asarray(plainness(buf, offsets), np.int64)
    for i, score in enumerate(scores):
        if score is not None and score == score:
            ranks[i] = 1000 + round(100 * min(1.0, max(0.0, score)))
    return ranks
