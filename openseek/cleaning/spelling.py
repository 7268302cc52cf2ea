"""Repairs of spelling: Unicode form, control characters, line ends, mojibake, width of letters.

Each repair looks first, with a search that costs next to nothing, and only then rewrites.
"""

from __future__ import annotations

import re
import unicodedata

from openseek.cleaning.signs import (
    BLANK_LINES,
    COMPOSE,
    CONTROL,
    EVERY,
    LINE_ENDS,
    MOJIBAKE,
    SURROGATES,
    SYMBOLS,
    WIDTH,
)
from openseek.config.cleaning import NormaliseConfig

_C0 = bytes(c for c in range(32) if c not in (9, 10, 11, 12, 13)) + b"\x7f"
# C1 controls, zero-width space, directional marks and overrides, word joiner, BOM, noncharacters.
# Zero-width joiners stay: emoji and Indic scripts are spelt with them.
_INVISIBLE = re.compile(
    "[\x80-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    "\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ]+")
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
# The second byte of UTF-8, as Windows-1252 shows it.
_TAIL = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(f"[\xc2-\xf4][{_TAIL}]")
# Windows-1252 where it has a character, Latin-1 in its five holes, so that all bytes come back.
_HOLES = {c: bytes([c]) for c in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}


def normalise(
    text: str, config: NormaliseConfig, signs: int = EVERY
) -> tuple[str, tuple[str, ...]]:
    """Repair the spelling of a text.

    Args:
        text: Any text; lone surrogates become U+FFFD.
        config: Which repairs.
        signs: What there may be to repair, of `openseek.cleaning.signs`.

    Returns:
        The text and the names of the repairs that changed it.
    """
    if not signs & ~SYMBOLS:
        return text, ()
    changes = []
    if signs & SURROGATES:
        text, lost = _without_surrogates(text)
        changes += ["surrogates"] * lost
    for name, sign, repair in (
        ("mojibake", MOJIBAKE, config.mojibake and repair_mojibake),
        ("control", CONTROL, config.control and remove_control),
        ("line_ends", LINE_ENDS, config.line_ends and unify_lines),
        ("nfc", COMPOSE, config.nfc and _compose),
        ("width", WIDTH, config.width and narrow),
    ):
        if repair and signs & sign:
            repaired = repair(text)
            if repaired != text:
                text, signs = repaired, EVERY
                changes.append(name)
    most = "\n" * min(config.max_blank_lines + 1, len(text))
    if signs & BLANK_LINES and most + "\n" in text:
        text = re.sub(f"\n{{{len(most) + 1},}}", most, text)
        changes.append("blank_lines")
    return text, tuple(changes)


def repair_mojibake(text: str) -> str:
    """Undo a reading of UTF-8 as Windows-1252, line by line, where it is undone exactly.

    A line is changed only if all of it encodes back to bytes that are valid UTF-8: a French or
    Turkish line that merely has such characters does not.
    """
    if _MOJIBAKE.search(text) is None:
        return text
    return "\n".join(
        line if _MOJIBAKE.search(line) is None else _undo(line) for line in text.split("\n")
    )


def remove_control(text: str) -> str:
    """Remove characters that show nothing and mean nothing in running text."""
    if text.isascii():
        return text.encode().translate(None, _C0).decode()
    if _INVISIBLE.search(text) is not None:
        text = _INVISIBLE.sub("", text)
    raw = text.encode()
    kept = raw.translate(None, _C0)
    return text if len(kept) == len(raw) else kept.decode()


def unify_lines(text: str) -> str:
    r"""Write every line end as `\n`, without spaces before it."""
    if any(c in text for c in "\r\x0b\x0c") or (
        not text.isascii() and any(c in text for c in "\x85\u2028\u2029")
    ):
        text = _LINE_END.sub("\n", text)
    if " \n" in text or "\t\n" in text or "\xa0\n" in text:
        *lines, last = text.split("\n")  # a pattern would try every place of a long run of spaces
        text = "\n".join([*(line.rstrip(" \t\xa0") for line in lines), last])
    return text


def narrow(text: str) -> str:
    """Write full-width Latin letters and digits as plain ones; punctuation stays as wide as it is.

    Chinese punctuation is full-width by rule (GB/T 15834), letters and digits are so by accident.
    """
    if _WIDE.search(text) is None:
        return text
    return _WIDE.sub(lambda found: found.group().translate(_NARROW), text)


def _compose(text: str) -> str:
    if unicodedata.is_normalized("NFC", text):
        return text
    # NFC makes angle brackets of mathematics and computing into Chinese quotation marks (U+3008);
    # Unicode's own advice is U+27E8, which it leaves alone. Mathematical letters have no NFC form.
    text = text.replace("\u2329", "\u27e8").replace("\u232a", "\u27e9")
    return unicodedata.normalize("NFC", text)


def _without_surrogates(text: str) -> tuple[str, bool]:
    try:
        text.encode()
    except UnicodeEncodeError:
        # Pairs that stand for one character are joined first, as UTF-16 would.
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return joined, True
    return text, False


def _undo(line: str) -> str:
    try:
        raw = line.encode("cp1252")
    except UnicodeEncodeError:
        try:
            raw = b"".join(_HOLES.get(ord(c)) or c.encode("cp1252") for c in line)
        except UnicodeEncodeError:
            return line
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return line
