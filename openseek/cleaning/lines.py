"""Removal of lines: boilerplate by phrase, fragments by form (C4, Raffel 2020, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.cleaning.scan import DOTS, ENDS, QUOTED
from openseek.cleaning.stats import Scan
from openseek.config.cleaning import LineConfig

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def remove_citations(text: str) -> str:
    """Remove an encyclopaedia's marks: `[12]`, `[edit]`, `[citation needed]`."""
    return _CITATION.sub("", text) if "]" in text else text


def unwanted_lines(found: Scan, config: LineConfig) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find lines to remove, and texts with a phrase that condemns all of them.

    Args:
        found: The scan of a batch.
        config: Which lines.

    Returns:
        True for each line to remove, and for each text to drop.
    """
    lines, flags = found.lines, found.lines["flags"]
    remove = np.zeros(flags.size, np.bool_)
    if config.max_word_chars:
        remove |= lines["max_word"] > config.max_word_chars
    if config.terminal != "any":
        ends = QUOTED if config.terminal == "latin" else QUOTED | ENDS
        remove |= (flags & ends == 0) | (flags & DOTS > 0)
    if config.min_words:
        remove |= lines["words"] < config.min_words
    drop = np.zeros(found.offsets.size - 1, np.bool_)
    data = found.buf.tobytes().lower() if config.phrases or config.page_phrases else b""
    for at in _places(data, config.page_phrases):
        line = int(np.searchsorted(lines["start"], at, "right")) - 1
        if not remove[line]:
            drop[np.searchsorted(found.first_line, line, "right") - 1] = True
    for at in _places(data, config.phrases):
        line = int(np.searchsorted(lines["start"], at, "right")) - 1
        remove[line] |= lines["chars"][line] <= config.max_chars
    return remove, drop


def without_lines(found: Scan, text: int, remove: NDArray[np.bool_], *, strip: bool) -> str:
    """Put a text together from the lines that stay.

    Args:
        found: The scan of a batch.
        text: Number of the text in it.
        remove: True for each line of the batch that goes.
        strip: Take spaces off both ends of each line, as C4 does.
    """
    first, end = found.first_line[text], found.first_line[text + 1]
    kept = [
        bytes(found.buf[found.lines["start"][i] : found.lines["end"][i]]).decode()
        for i in range(first, end)
        if not remove[i]
    ]
    return "\n".join([line.strip() for line in kept] if strip else kept)


def _places(data: bytes, phrases: Sequence[str]) -> list[int]:
    if not phrases:
        return []
    return [start for _, start, _ in _automaton(tuple(phrases)).find_matches_as_indexes(data)]


@lru_cache(maxsize=8)
def _automaton(phrases: tuple[str, ...]) -> Any:
    from ahocorasick_rs import BytesAhoCorasick

    return BytesAhoCorasick([phrase.encode("utf-8", "replace").lower() for phrase in phrases])
