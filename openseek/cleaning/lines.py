"""Removal of boilerplate lines: cookie notices, policies, browser warnings (C4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any


def remove_lines(text: str, phrases: Sequence[str], max_chars: int) -> tuple[str, int]:
    """Remove short lines that have one of some phrases, in any ASCII case.

    Args:
        text: A text.
        phrases: What marks a line.
        max_chars: Longer lines stay.

    Returns:
        The text and the number of lines removed.
    """
    if not phrases or not _automaton(tuple(phrases)).find_matches_as_indexes(_lower(text)):
        return text, 0
    find = _automaton(tuple(phrases)).find_matches_as_indexes
    lines = text.split("\n")
    kept = [line for line in lines if len(line) > max_chars or not find(_lower(line))]
    return "\n".join(kept), len(lines) - len(kept)


@lru_cache(maxsize=8)
def _automaton(phrases: tuple[str, ...]) -> Any:
    from ahocorasick_rs import BytesAhoCorasick

    return BytesAhoCorasick([_lower(p) for p in phrases])


def _lower(text: str) -> bytes:
    return text.encode("utf-8", "replace").lower()
