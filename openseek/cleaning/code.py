"""Rules for source files that no statistic tells: generated files and licence headers."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEAD_CHARS = 1000
# A line of a leading comment in the usual styles, or a blank one.
_COMMENT = re.compile(r"[ \t]*(?:#|//|/\*|\*|--|;|%|<!--|-->|$)")
_FIRST = re.compile(r"#!|#.*coding[:=]|<\?|# ?(?:-\*-|vim?:)")
_LEGAL = re.compile(r"copyright|licen[cs]e|spdx-", re.IGNORECASE)


def is_generated(text: str, phrases: Sequence[str]) -> bool:
    """Tell a file that a program wrote, by what its first 1,000 characters say of it.

    Args:
        text: A source file.
        phrases: In lower case, such as `do not edit`.
    """
    head = text[:_HEAD_CHARS].lower()
    return any(phrase in head for phrase in phrases)


def without_licence(text: str) -> str:
    """Remove a leading comment that speaks of copyright or a licence.

    The interpreter line and the declaration of the encoding stay, and so does a comment that is
    the whole file.
    """
    lines = text.split("\n")
    start = 0
    while start < len(lines) and _FIRST.match(lines[start]):
        start += 1
    end = start
    while end < len(lines) and _COMMENT.match(lines[end]):
        end += 1
    block = lines[start:end]
    if end == len(lines) or not _LEGAL.search("\n".join(block)):
        return text
    return "\n".join([*lines[:start], *lines[end:]])
