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

_COMMAND_CHARS = 12
_LONG_PHRASE = 4  # characters
_BAR, _WIDE_BAR = ord("|"), re.compile("｜".encode())
_BARS, _HAN = re.compile("[|｜]"), re.compile("[\u4e00-\u9fff]")
# Names of up to 20 characters that begin with a letter; synopses and grammars have other things.
_NAME = r"[^\W\d_](?:[\w .&'’·-]{0,18}[\w.'’])?"
_NAVIGATION = re.compile(rf"\s*[\[【]?{_NAME}(?:(?:\s+\|\s+|\s*｜\s*){_NAME})+[|｜\]】\s]*")
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
    if config.furniture:
        _remove_furniture(found, config, remove)
    if config.bars:
        _remove_navigation(found, config.bars, remove)
    return remove, drop


def _remove_furniture(found: Scan, config: LineConfig, remove: NDArray[np.bool_]) -> None:
    """Mark the short lines of Chinese pages that invite to click, share or read on."""
    starts, chars = found.lines["start"], found.lines["chars"]
    ends = found.lines["flags"] & ENDS > 0
    search = _automaton(config.furniture).find_matches_as_indexes
    for text in np.flatnonzero(found.counts["han"]):
        low, high = found.offsets[text], found.offsets[text + 1]
        for phrase, start, _ in search(found.buf[low:high].tobytes().lower()):
            line = int(np.searchsorted(starts, low + start, "right")) - 1
            before = bytes(found.buf[starts[line] : low + start])
            # `切换到上一页` explains a command, `« 上一页` is one.
            short = len(config.furniture[phrase]) < _LONG_PHRASE
            if short and any(c.isalpha() for c in before.decode()):
                continue
            # A sentence about such a thing is prose; a command of a few words is not.
            longest = _COMMAND_CHARS if ends[line] else config.furniture_chars
            remove[line] |= chars[line] <= longest


def _remove_navigation(found: Scan, bars: int, remove: NDArray[np.bool_]) -> None:
    """Mark lines of Chinese names set apart by bars, but not rows of a table."""
    if not found.counts["han"].any():
        return
    wide = [m.start() for m in _WIDE_BAR.finditer(found.buf.tobytes())]
    places = np.sort(np.concatenate([np.flatnonzero(found.buf == _BAR), np.array(wide, np.int64)]))
    starts, stops = found.lines["start"], found.lines["end"]
    rows, counts = np.unique(np.searchsorted(starts, places, "right") - 1, return_counts=True)
    several = set(rows[counts >= bars - 1].tolist())
    for line in rows[counts >= bars].tolist():
        if several.isdisjoint((line - 1, line + 1)):
            below = min(line + 1, starts.size - 1)
            own, next_ = (
                bytes(found.buf[starts[i] : stops[i]]).decode("utf-8", "replace")
                for i in (line, below)
            )
            remove[line] |= _is_navigation(own) and not next_.strip().startswith(("--", "+-", "=="))


def _is_navigation(line: str) -> bool:
    if _NAVIGATION.fullmatch(line) is None:
        return False
    names = _BARS.split(line.strip("[]【】|｜ \t"))
    return 2 * sum(_HAN.search(name) is not None for name in names) >= len(names)


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
