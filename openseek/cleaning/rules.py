"""Which documents the configured thresholds drop, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from openseek.config.cleaning import RuleBlock

Column = NDArray[np.str_]

_WORDLESS = frozenset(
    {
        "chars", "bytes", "lines", "mean_line_chars", "max_line_chars", "bullet_lines",
        "ellipsis_lines", "terminal_lines", "short_lines", "alnum", "digits", "han", "replacement",
        "braces", "dup_lines", "dup_line_chars", "dup_paragraphs", "dup_paragraph_chars",
        "dup_solid_line_chars",
    }
)  # fmt: skip


def wanted_repetition(
    blocks: Mapping[str, RuleBlock], categories: Column, languages: Column, sources: Column
) -> NDArray[np.int8]:
    """Tell which (costly) measures of repetition some block needs of each document.

    Returns:
        0 for none, 1 for those of lines and paragraphs, 2 for those of n-grams as well.
    """
    wanted = np.zeros(categories.size, np.int8)
    for block in blocks.values():
        if not block.enabled:
            continue
        level = max((_repetition_level(stat) for stat in block.thresholds), default=0)
        if level:
            applies = _applies(block, categories, languages, sources)
            wanted = np.maximum(wanted, np.where(applies, np.int8(level), np.int8(0)))
    return wanted


def _repetition_level(stat: str) -> int:
    if not stat.startswith(("dup_", "top_")):
        return 0
    return 2 if stat.endswith("gram") else 1


def wants_words(
    blocks: Mapping[str, RuleBlock], categories: Column, sources: Column
) -> NDArray[np.bool_]:
    """Tell for which documents some block needs their words, whatever the language."""
    wanted = np.zeros(categories.size, np.bool_)
    for block in blocks.values():
        if block.enabled and not _WORDLESS.issuperset(block.thresholds):
            wanted |= _among(categories, block.categories) & _among(sources, block.sources)
    return wanted


def judge(
    blocks: Mapping[str, RuleBlock],
    stats: Mapping[str, NDArray[np.float64]],
    categories: Column,
    languages: Column,
    sources: Column,
) -> tuple[list[str], dict[str, NDArray[np.bool_]]]:
    """Apply rule blocks to documents.

    Args:
        blocks: Blocks by name, in the order that decides which reason is reported.
        stats: Statistic -> one value a document. Missing ones are not judged.
        categories: Category of each document.
        languages: Language group of each document.
        sources: Source of each document.

    Returns:
        The first reason to drop each document ("" for none), `block.statistic`; and for every
        reason which documents it holds for, whether or not an earlier one did.
    """
    reasons: list[str] = [""] * categories.size
    hits: dict[str, NDArray[np.bool_]] = {}
    for name, block in blocks.items():
        if not block.enabled:
            continue
        applies = _applies(block, categories, languages, sources)
        for stat, threshold in block.thresholds.items():
            if stat not in stats:
                continue
            values = stats[stat]
            fails = np.zeros(values.size, np.bool_)
            if threshold.min is not None:
                fails |= values < threshold.min
            if threshold.max is not None:
                fails |= values > threshold.max
            fails &= applies
            if not fails.any():
                continue
            reason = f"{name}.{stat}"
            hits[reason] = fails
            for i in np.flatnonzero(fails):
                reasons[i] = reasons[i] or reason
    return reasons, hits


def _applies(
    block: RuleBlock, categories: Column, languages: Column, sources: Column
) -> NDArray[np.bool_]:
    return (
        _among(categories, block.categories)
        & _among(languages, block.languages)
        & _among(sources, block.sources)
    )


def _among(column: Column, allowed: Sequence[str]) -> NDArray[np.bool_]:
    if not allowed:
        return np.ones(column.size, np.bool_)
    return np.isin(column, list(allowed))
