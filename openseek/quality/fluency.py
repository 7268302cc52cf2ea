"""How surprising a text is to a character n-gram model of its own corpus.

Garbled encodings, keyboard noise, tables of numbers and word salad have many bits per character;
the worst half percent of each domain is dropped (CCI4.0 describes p99.5 of a 3B model's loss per
domain). The model is a count table, summed over shards, so that it is the same for any number of
workers; `lang` and fold select the part of it that a text trains or is read by.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import FluencyConfig

Counts = tuple[NDArray[np.int64], NDArray[np.uint32]]
"""The filled positions of a count table, and their counts."""
Texts = tuple[NDArray[np.uint8], NDArray[np.int64], Sequence[str], Sequence[str]]
"""Texts in Arrow's layout (buffer, offsets), their ids and languages."""


def fold_of(doc_id: str) -> int:
    """Tell which of the two folds a document is in."""
    return zlib.crc32(doc_id.encode()) & 1


def primary(lang: str) -> str:
    """Reduce a language tag to what models and quantiles are kept for: `zh-Hans` -> `zh`."""
    return lang.split("-", 1)[0]


def drawn(
    ids: Sequence[str], sizes: NDArray[np.int64], config: FluencyConfig, budget_bytes: int
) -> NDArray[np.bool_]:
    """Choose the documents of a shard that the model learns from, up to a budget.

    Args:
        ids: Ids of all documents; the order of drawing follows from them.
        sizes: Their bytes.
        config: How much of a document is read.
        budget_bytes: Text to choose at most.
    """
    order = np.array(sorted(range(len(ids)), key=lambda i: (zlib.crc32(ids[i].encode()), i)), int)
    fits = np.cumsum(np.minimum(sizes, 4 * config.read_chars)[order]) <= max(budget_bytes, 1)
    chosen = np.zeros(len(ids), np.bool_)
    chosen[order[fits]] = True
    return chosen


def count_ngrams(texts: Iterable[Texts], config: FluencyConfig) -> Counts:
    """Count the n-grams of one shard's texts, given in as many lots as one likes."""
    from openseek.quality.kernels import lm_count

    table = np.zeros(1 << config.table_bits, np.uint32)
    for buf, offsets, ids, langs in texts:
        salts = _salts(ids, langs, flip=False)
        lm_count(buf, offsets, salts, config.read_chars, config.order, table)
    at = np.flatnonzero(table)
    return at, table[at]


def sum_counts(parts: Iterable[Counts], config: FluencyConfig) -> NDArray[np.uint32]:
    """Add the counts of all shards up to one table; full cells stay full."""
    total = np.zeros(1 << config.table_bits, np.int64)
    for at, counts in parts:
        total[at] += counts
    return np.minimum(total, 2**32 - 1).astype(np.uint32)


def bits_per_char(
    buf: NDArray, offsets: NDArray, ids: Sequence[str], langs: Sequence[str],
    config: FluencyConfig, table: NDArray[np.uint32],
) -> NDArray[np.float32]:  # fmt: skip
    """Read every text with the model of the fold that it is not in."""
    from openseek.quality.kernels import lm_bits

    salts = _salts(ids, langs, flip=True)
    table = table.view()
    table.setflags(write=False)  # as it arrives from Ray: one compiled version of the kernel
    bits = lm_bits(buf, offsets, salts, config.read_chars, config.order, table)
    return np.asarray(bits, np.float32)


def _salts(ids: Sequence[str], langs: Sequence[str], *, flip: bool) -> NDArray[np.uint64]:
    return np.array(
        [
            zlib.crc32(primary(lang).encode()) * 2 + (fold_of(i) ^ flip)
            for i, lang in zip(ids, langs, strict=True)
        ],
        np.uint64,
    )
