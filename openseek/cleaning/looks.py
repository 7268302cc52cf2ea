"""One compiled look at the texts of a batch: their script, English beyond doubt, personal data.

It cuts no tokens, so that texts that no rule asks about are not cut either. What it says about
personal data may be a false alarm, never a miss: the patterns themselves look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.cleaning.characters import HAN, KANA, KIND, LETTER, character_table
from openseek.cleaning.lexicon import STOP_WORDS_EN
from openseek.cleaning.tokens import table_row
from openseek.corpus.codepoints import decode, inlined, kernel

LOOKS = (
    "chinese", "words", "english_words", "english_kinds", "wide",
    "at_signs", "long_numbers", "dotted_numbers", "foreign_numbers", "hex_colons",
)  # fmt: skip
"""Columns of the table of texts. `words` are runs without spaces; `english_words` are English stop
words, `english_kinds` different ones, and `wide` characters of East Asian scripts, all of a
text's beginning; `long_numbers` runs of at least 11 digits, with single spaces
or dashes after three digits or more inside; `dotted_numbers` four numbers with dots between;
`foreign_numbers` places such as `+1` and `234-5`, as telephone numbers abroad have; `hex_colons`
such as `2abc:`, as IPv6 addresses have. Digits are those of ASCII."""
_CHINESE, _WORDS, _ENGLISH, _KINDS, _WIDE, _AT, _LONG, _DOTTED, _FOREIGN, _HEX = range(len(LOOKS))

_PLAIN, _SPACE, _DIGIT, _MARK = range(4)  # classes of bytes; marks are @ and :
_LONGEST = 4  # letters of a stop word
_ENGLISH_SHARE, _FEW_WORDS, _FEW_KINDS, _WIDE_PER_WORD = 0.08, 20, 4, 0.5


@dataclass(frozen=True)
class Look:
    """What was found in a batch of texts.

    Attributes:
        buf: UTF-8 of all texts; `offsets` their starts, and the end of the last one.
        counts: Column of `LOOKS` -> one value a text.
    """

    buf: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    counts: dict[str, NDArray[np.int64]]

    @property
    def chinese(self) -> NDArray[np.bool_]:
        """Which texts are Chinese by their characters: mostly Han, and hardly any kana."""
        return np.asarray(self.counts["chinese"] > 0)

    @property
    def english(self) -> NDArray[np.bool_]:
        """Which texts are English beyond doubt by their most frequent words.

        Gopher's eight stop words are a sixth of English prose (measured: 0.12 to 0.2 of the words
        of manuals and books), and no more than chance hits elsewhere, `of` in Dutch and `have` in
        Danish among them; four different ones do not meet in another language.
        """
        c = self.counts
        often = c["english_words"] >= _ENGLISH_SHARE * c["words"]
        pure = c["wide"] <= _WIDE_PER_WORD * c["words"]  # no Chinese page with English quotations
        enough = (c["words"] >= _FEW_WORDS) & (c["english_kinds"] >= _FEW_KINDS)
        return np.asarray(enough & often & pure)

    def holding(self, places: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
        """Tell which texts have one of some places, given as first byte and end."""
        held = np.zeros(self.offsets.size - 1, np.bool_)
        if places:
            ends = np.array(places, np.int64) - (0, 1)
            held[np.searchsorted(self.offsets, ends.ravel(), "right") - 1] = True
        return held


def look_at(encoded: Sequence[bytes], *, head: int = 2000) -> Look:
    """Look at some texts.

    Args:
        encoded: At least one text, in UTF-8.
        head: Bytes at the start of each that tell whether it is English.
    """
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(e) for e in encoded], out=offsets[1:])
    buf = np.frombuffer(bytearray().join(encoded), np.uint8)
    table = look_texts(buf, offsets, character_table(), _byte_classes(), _stop_words(), head)
    return Look(buf, offsets, {name: table[:, i] for i, name in enumerate(LOOKS)})


@lru_cache(maxsize=1)
def _byte_classes() -> NDArray[np.uint8]:
    table = np.full(256, _PLAIN, np.uint8)
    table[9:14] = table[28:33] = _SPACE
    table[48:58] = _DIGIT
    table[[58, 64]] = _MARK
    return table


@lru_cache(maxsize=1)
def _stop_words() -> NDArray[np.int64]:
    """Return English stop words as numbers, the first letter lowest."""
    words = [word.encode() for word in STOP_WORDS_EN]
    assert max(map(len, words)) <= _LONGEST
    return np.array([int.from_bytes(word, "little") for word in words], np.int64)


@kernel
def _is_chinese(buf: NDArray, start: int, end: int, classes: NDArray) -> bool:
    wide = 0
    for i in range(start, end):
        wide += buf[i] >= 0xE3
    if wide == 0:
        return False
    letters, han, kana = 0, 0, 0
    i = start
    while i < end:
        if buf[i] < 0x80:
            letters += 97 <= buf[i] | 32 <= 122
            i += 1
            continue
        if 0xE5 <= buf[i] <= 0xE9:  # U+5000 to U+9FFF
            han += 1
            i += 3
            continue
        c, width = decode(buf, i)
        kind = classes[table_row(c)] & KIND
        letters += kind == LETTER
        han += kind == HAN
        kana += kind == KANA
        i += width
    # A Han character weighs two letters; it carries about as much text.
    return 2 * han > letters and 20 * kana < han


@inlined
def _ends_group(buf: NDArray, i: int) -> bool:
    """Tell whether four hexadecimal digits that begin with 2 or 3 stand before a place."""
    hexadecimal = 0
    for k in range(i - 3, i):
        hexadecimal += 48 <= buf[k] <= 57 or 97 <= buf[k] | 32 <= 102
    return hexadecimal == 3 and (buf[i - 4] == 50 or buf[i - 4] == 51)


@inlined
def _stop_word_at(buf: NDArray, i: int, end: int, words: NDArray) -> int:
    """Return which stop word begins at a place, or -1."""
    key, j = np.int64(0), i
    while j < end and j - i <= _LONGEST and 97 <= buf[j] <= 122:
        key |= np.int64(buf[j]) << (8 * (j - i))
        j += 1
    if j == i or j - i > _LONGEST:
        return -1
    if j < end:
        c = buf[j]
        if not (c == 32 or c == 10 or c == 44 or c == 46 or c == 58 or c == 59):
            return -1
    for k in range(words.size):
        if words[k] == key:
            return k
    return -1


@kernel
def _personal(buf: NDArray, start: int, end: int, kinds: NDArray, out: NDArray) -> None:
    """Count what personal data may be made of."""
    i = start
    while i < end:
        while i < end and kinds[buf[i]] < _DIGIT:
            i += 1
        digits, numbers, hyphened = 0, 0, False
        while i < end and kinds[buf[i]] == _DIGIT:  # numbers with one character between them
            previous = buf[i - 1] if i > start else 0
            out[_FOREIGN] += previous == 43 or (previous == 45 and hyphened)
            numbers = numbers + 1 if previous == 46 else 1
            out[_DOTTED] += numbers == 4
            first = i
            while i < end and kinds[buf[i]] == _DIGIT:
                digits += 1
                out[_LONG] += digits == 11
                i += 1
            if i == end:
                return
            c = buf[i]
            if not ((c == 32 or c == 45) and i - first > 2):
                digits = 0
            hyphened = c == 45 and i - first == 3
            if kinds[c] == _MARK:
                break
            i += 1
        if i < end and kinds[buf[i]] == _MARK:
            out[_AT] += buf[i] == 64
            out[_HEX] += buf[i] == 58 and i >= start + 4 and _ends_group(buf, i)
            i += 1


@kernel
def _english(
    buf: NDArray, start: int, end: int, kinds: NDArray, stops: NDArray, out: NDArray
) -> None:
    """Count words and stop words."""
    words, english, seen, wide = 0, 0, 0, 0
    i = start
    while i < end:
        if kinds[buf[i]] == _SPACE:
            i += 1
            continue
        words += 1
        stop = _stop_word_at(buf, i, end, stops)
        if stop >= 0:
            english += 1
            seen |= 1 << stop
        while i < end and kinds[buf[i]] != _SPACE:
            wide += 0xE3 <= buf[i] < 0xF0
            i += 1
    out[_WORDS], out[_ENGLISH], out[_WIDE] = words, english, wide
    for k in range(stops.size):
        out[_KINDS] += (seen >> k) & 1


@njit(cache=True)
def look_texts(
    buf: NDArray, offsets: NDArray, classes: NDArray, kinds: NDArray, stops: NDArray, head: int
) -> NDArray:
    """Count what `LOOKS` names.

    Args:
        buf: UTF-8 of all texts, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        classes: `characters.character_table()`.
        kinds: Class of each byte, uint8.
        stops: English stop words as numbers, int64.
        head: Bytes at the start of each text whose words are counted.

    Returns:
        int64 of shape [texts, len(LOOKS)].
    """
    out = np.zeros((offsets.size - 1, len(LOOKS)), np.int64)
    for t in range(offsets.size - 1):
        start, end = offsets[t], offsets[t + 1]
        out[t, _CHINESE] = _is_chinese(buf, start, end, classes)
        _personal(buf, start, end, kinds, out[t])
        _english(buf, start, min(end, start + head), kinds, stops, out[t])
    return out
