"""What each character is, as one table of bits that the compiled passes look characters up in.

The low three bits are the kind (`OTHER` to `KANA`); the others are properties. The basic plane has
a row each; beyond it a character has the class of its plane: letter, Han or pictograph.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

OTHER, SPACE, LETTER, DIGIT, HAN, KANA = range(6)
KIND = 7
ALPHA = 1 << 3  # a letter of any script
LOWER = 1 << 4  # lower case or without case
UPPER = 1 << 5  # upper case or without case
AFFIX = 1 << 6  # splits off at both ends of a word
PREFIX = 1 << 7  # splits off at the start of a word
ICON = 1 << 8  # pictograph: splits off anywhere
SYMBOL = 1 << 9  # a token of these alone is no word
PUNCT = 1 << 10  # Unicode category P
END = 1 << 11  # ends a sentence
QUOTE = 1 << 12
STOPS = 1 << 13  # a full stop after it splits off
CURRENCY = 1 << 14
JOINS = 1 << 15  # a letter, as what stands beside punctuation inside a word

HAN_PLANES, ICON_PLANE, LETTER_PLANE = 0x10000, 0x10001, 0x10002
"""Rows after the basic plane: 0x20000-0x3FFFF, 0x1F000-0x1FBFF, and all else beyond."""

_PUNCT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_CURRENCY = "$£€¥฿₽﷼₴₹₩₪₫₺"
_SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_ENDS = (
    "!.?։؞؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡。࠷࠹࠽࠾។៕៖៙៚"
    "\u1b7d\u1b7e\u2e53\u2e54\u061d"
)
_SYMBOLS = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)


@lru_cache(maxsize=1)
def character_table() -> NDArray[np.uint16]:
    """Build the table: one row per character of the basic plane, and three for what is beyond.

    Bits follow the rules of spaCy's English tokenizer (`AFFIX` to `CURRENCY`) and of datatrove's
    list of punctuation (`SYMBOL`), which the Gopher, C4 and FineWeb rules were published with.
    """
    table = np.zeros(0x10003, np.uint16)
    categories = list(map(unicodedata.category, map(chr, range(0x10000))))
    classes = {category: _of_category(category) for category in set(categories)}
    table[:0x10000] = [classes[category] for category in categories]
    for low, high, kind in ((0x3400, 0x4DBF, HAN), (0x4E00, 0x9FFF, HAN), (0xF900, 0xFAFF, HAN),
                            (0x3040, 0x30FF, KANA)):  # fmt: skip
        rows = table[low : high + 1]
        rows[:] = (rows & ~np.uint16(KIND)) | np.uint16(kind)
    for space in _SPACES:
        table[ord(space)] = SPACE
    table[0x3001:0x3040] |= JOINS
    table[HAN_PLANES] = HAN | ALPHA | JOINS | LOWER | UPPER
    table[ICON_PLANE] = OTHER | ICON | AFFIX | PREFIX
    table[LETTER_PLANE] = LETTER | ALPHA | JOINS
    for chars, bits in (
        (_PUNCT, AFFIX | PREFIX | STOPS),
        (_QUOTES, AFFIX | PREFIX | QUOTE),
        ("—–", AFFIX | PREFIX),
        ("§%=", PREFIX),
        ("%²-+", STOPS),
        (_CURRENCY, PREFIX | CURRENCY),
        (_ENDS, END | SYMBOL),
        (_SYMBOLS, SYMBOL),
    ):
        for char in chars:
            table[ord(char)] |= bits
    for code in (*range(32), *range(127, 160)):
        table[code] |= SYMBOL
    return table


def _of_category(category: str) -> int:
    if category == "So":
        return OTHER | ICON | AFFIX | PREFIX
    if category == "Nd":
        return DIGIT
    if category[0] == "M":
        return LETTER
    if category[0] == "L":
        case = {"Ll": LOWER, "Lu": UPPER}.get(category, LOWER | UPPER)
        return LETTER | ALPHA | JOINS | case
    return PUNCT if category[0] == "P" else OTHER
