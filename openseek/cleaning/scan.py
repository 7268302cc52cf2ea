"""The compiled pass over UTF-8: characters are counted, tokens and lines are cut, in one reading.

Texts come as one byte buffer and `offsets` (text i is `buf[offsets[i]:offsets[i+1]]`), which is
Arrow's own layout. Tokens are cut as spaCy's English rules cut them (Gopher's published thresholds
are applied to such tokens): at spaces, then punctuation off both ends, then inside. In a Chinese
text each Han or kana character is a token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.cleaning.characters import (
    ALPHA,
    DIGIT,
    END,
    HAN,
    KANA,
    KIND,
    LETTER,
    OTHER,
    SPACE,
)  # fmt: skip
from openseek.cleaning.tokens import (
    ALL,
    ALL_PUNCT,
    BITS,
    ENDS_SENTENCE,
    HAS_ALPHA,
    PRIME,
    SEED,
    WORD,
    ZERO,
    U,
    look_up,
    table_row,
    write_run,
    write_token,
)  # fmt: skip
from openseek.corpus.codepoints import decode, inlined, kernel, mix

TOKENS_CRC = 0x4BAC9F16
"""Checksum of `tokens.py`: numba's cache on disk only notices changes of the file that a function
is defined in, so this file changes whenever that one does (a test holds it to that)."""

COUNTS = (
    "other", "spaces", "letters", "digits", "han", "kana",  # in the order of the kinds
    "chinese", "tokens", "words", "word_chars", "max_word_chars", "alpha_tokens", "stop_words",
    "hashes", "ellipses", "braces", "replacements", "sentences", "first_line", "first_token",
)  # fmt: skip
"""Columns of the table of texts. `words` are tokens that are not all punctuation."""
(
    _OTHERS, _SPACES, _LETTERS, _DIGITS, _HAN, _KANA,
    _CHINESE, _TOKENS, _WORDS, _WORD_CHARS, _MAX_WORD, _ALPHAS, _STOP_WORDS,
    _HASHES, _ELLIPSES, _BRACES, _REPLACEMENTS, _SENTENCES, _FIRST_LINE, _FIRST_TOKEN,
) = range(len(COUNTS))  # fmt: skip

LINES = ("start", "end", "chars", "solid_chars", "words", "max_word", "sentences", "flags", "hash")
"""Columns of the table of lines: place in bytes; characters, and those from the first to the last
that is no space; runs without spaces, and characters of the longest; sentences."""
_START, _STOP, _CHARS, _SOLID, _LWORDS, _LMAX, _LSENTENCES, _FLAGS, _HASH = range(len(LINES))

ENDS, QUOTED, DOTS, BULLET, BRACE, TRAILS = 1, 2, 4, 8, 16, 32
"""Flags of a line: last character ends a sentence; is . ! ? " or '; ends in an ellipsis; starts
with a bullet; has an opening brace; ends in a space."""

_ONE = U(1)


@inlined
def _count_rare(c: int, dots: int, out: NDArray) -> None:
    """Count a character that is no letter, digit or space."""
    if c == 46:
        out[_ELLIPSES] += dots == 3
    elif c == 35:
        out[_HASHES] += 1
    elif c == 123:
        out[_BRACES] += 1
    elif c == 0x2026:
        out[_ELLIPSES] += 1
    elif c == 0xFFFD:
        out[_REPLACEMENTS] += 1


@kernel
def _close_tokens(
    tokens: Any, lo: int, hi: int, stops: NDArray, seen: int, stops_seen: Any, out: NDArray
) -> Any:
    """Add up the tokens of a line.

    Returns:
        Sentences of the line by itself, whether a sentence of the text has ended at its end, and
        the stop words that the text has so far.
    """
    words, word_chars, most, alphas, found, whole = 0, ZERO, out[_MAX_WORD], 0, 0, 0
    ended = ZERO
    for k in range(lo, hi):
        flags, chars = tokens[2][k], np.int64(tokens[1][k])
        if flags & WORD:
            words += 1
            word_chars += chars
            most = max(most, chars)
        if flags & HAS_ALPHA:
            alphas += 1
            if chars <= 4:
                at = look_up(stops, tokens[0][k])
                if at >= 0:
                    stops_seen |= _ONE << U(at)
        if flags & ENDS_SENTENCE:
            ended = seen = ZERO + 1
        elif flags & ALL_PUNCT == 0:
            found += ended
            whole += seen
            ended = seen = ZERO
    out[_WORDS] += words
    out[_WORD_CHARS] += word_chars
    out[_MAX_WORD] = most
    out[_ALPHAS] += alphas
    out[_SENTENCES] += whole
    return found + (hi > lo), seen, stops_seen


@inlined
def _end_flags(run: NDArray, m: int) -> int:
    """Describe the last characters of a line, which are those of its last run."""
    c = run[m - 1] >> BITS
    flags = ENDS if run[m - 1] & END else 0
    if c == 46 or c == 33 or c == 34 or c == 39 or c == 63:
        flags |= QUOTED
    if c == 0x2026 or (m > 2 and c == 46 and run[m - 2] >> BITS == 46 and run[m - 3] >> BITS == 46):
        flags |= DOTS
    return flags


@kernel
def _plain_word(
    buf: NDArray, i: int, end: int, classes: NDArray, lists: Any, tokenise: bool, tokens: Any,
    n: int,
) -> Any:  # fmt: skip
    """Read a run of ASCII letters, with one mark after it at most; most runs are such.

    Returns:
        Where the run ends (where it begins, if it is none of that kind: nothing is written then),
        the number of tokens, and the hash of its characters.
    """
    h, j = SEED, i
    while j < end and 97 <= buf[j] | 32 <= 122:
        h = (h ^ U(buf[j])) * PRIME
        j += 1
    m = j - i
    word = mix(h)
    c = np.int64(buf[j]) if j < end else ZERO + 10
    if c == 32 or c == 10:
        if not tokenise:
            return j, n, h
        if m < 9 and look_up(lists[0], word) > 0:
            return i, n, h
        tokens[0][n], tokens[1][n], tokens[2][n] = word, m, WORD | HAS_ALPHA
        return j, n + 1, h
    if j + 1 < end and buf[j + 1] != 32 and buf[j + 1] != 10:
        return i, n, h
    if c == 46:
        if buf[j - 1] < 97:
            return i, n, h
    elif not (c == 44 or c == 58 or c == 59 or c == 33 or c == 63 or c == 41):
        return i, n, h
    h = (h ^ U(c)) * PRIME
    if not tokenise:
        return j + 1, n, h
    if (m < 4 or (c == 46 and m < 12)) and look_up(lists[0], mix(h)) >= 0:
        return i, n, h
    if 1 < m < 5 and look_up(lists[0], word) >= 0:
        return i, n, h
    tokens[0][n], tokens[1][n], tokens[2][n] = word, m, WORD | HAS_ALPHA
    bits = np.int64(classes[c])
    write_token(tokens, n + 1, (SEED ^ U(c)) * PRIME, ZERO + 1, bits, bits)
    return j + 1, n + 2, h


@kernel
def _wide_run(
    buf: NDArray, i: int, end: int, classes: NDArray, tokenise: bool, tokens: Any, n: int,
    line_h: Any,
) -> Any:  # fmt: skip
    """Read Han and kana of three bytes each; return the end, tokens, the line's hash, and kana."""
    kana = ZERO
    while i < end and 0xE3 <= buf[i] <= 0xEF:
        c, _ = decode(buf, i)
        bits = np.int64(classes[c])
        if bits & KIND < HAN:
            break
        if tokenise:
            write_token(tokens, n, (SEED ^ U(c)) * PRIME, ZERO + 1, bits, bits)
            n += 1
        line_h = (line_h ^ U(c)) * PRIME
        kana += bits & KIND == KANA
        i += 3
    return i, n, line_h, kana


@kernel
def _scan_one(
    buf: NDArray, start: int, end: int, classes: NDArray, lists: Any, tokenise: bool, run: NDArray,
    cuts: NDArray, lines: NDArray, n_lines: int, tokens: Any, n: int, out: NDArray,
) -> Any:  # fmt: skip
    """Scan one text; return the numbers of lines and tokens so far."""
    chinese = out[_CHINESE] > 0
    first_token, line_token, line_start = n, n, start
    spaces, n_digits, han, kana, others, total = -1, 0, 0, 0, 0, -1  # the end is no character
    m, every, h, line_h = ZERO, ZERO + ALL, SEED, SEED
    chars, solid, runs, longest, flags = 0, 0, 0, 0, 0
    previous, dots = ZERO, 0
    seen, stops_seen = ZERO, U(0)
    i = start
    while i <= end:
        if m == 0 and i < end and 97 <= buf[i] | 32 <= 122:
            j, n, run_h = _plain_word(buf, i, end, classes, lists, tokenise, tokens, n)
            if j > i:
                total += j - i
                chars += j - i
                runs += 1
                longest = max(longest, j - i)
                solid = chars
                flags &= ~(ENDS | QUOTED | DOTS)
                previous = np.int64(buf[j - 1])
                bits = np.int64(classes[previous])
                if bits & KIND == OTHER:
                    others += 1
                    dots = ZERO + 1
                    flags |= ENDS if bits & END else 0
                    flags |= QUOTED if previous == 46 or previous == 33 or previous == 63 else 0
                line_h = (line_h ^ run_h) * PRIME
                i = j
                if i < end and buf[i] == 32:
                    spaces += 1
                    total += 1
                    chars += 1
                    line_h = (line_h ^ U(32)) * PRIME
                    previous = ZERO + 32
                    i += 1
                continue
        elif m == 0 and chinese and i < end and buf[i] >= 0xE3:
            j, n, line_h, marks = _wide_run(buf, i, end, classes, tokenise, tokens, n, line_h)
            if j > i:
                wide = (j - i) // 3
                total += wide
                chars += wide
                runs += wide
                solid = chars
                han += wide - marks
                kana += marks
                flags &= ~(ENDS | QUOTED | DOTS)
                previous = ZERO
                i = j
                continue
        if i < end:
            c, width = decode(buf, i)
        else:
            c, width = 10, 1  # the text's end closes word and line
        bits = np.int64(classes[table_row(c)])
        kind = bits & KIND
        total += 1
        alone = chinese and kind >= HAN
        if kind == SPACE or alone:
            if m > 0:
                if not tokenise:
                    pass
                elif m == 1:
                    write_token(tokens, n, h, m, every, every)
                    n += 1
                elif every & ALPHA:
                    write_token(tokens, n, h, m, every, every)
                    cut = look_up(lists[0], tokens[0][n]) if m < 9 else -1
                    if cut > 0:
                        cuts[cut] = 1
                        n = write_run(run, m, lists, cuts, tokens, n)
                    else:
                        n += 1
                else:
                    n = write_run(run, m, lists, cuts, tokens, n)
                runs += 1
                longest = max(longest, m)
                solid = chars
                flags = (flags & ~(ENDS | QUOTED | DOTS)) | _end_flags(run, m)
                line_h = (line_h ^ h) * PRIME
                m, every, h = ZERO, ZERO + ALL, SEED
            if alone:
                if tokenise:
                    write_token(tokens, n, (SEED ^ U(c)) * PRIME, ZERO + 1, bits, bits)
                    n += 1
                runs += 1
                solid = chars + 1
                flags &= ~(ENDS | QUOTED | DOTS)
            else:
                spaces += 1
        else:
            if m == 0 and runs == 0 and (c == 45 or c == 0x2022):
                flags |= BULLET
            run[m] = (c << BITS) | bits
            h = (h ^ U(c)) * PRIME
            every &= bits
            m += 1
        if kind == DIGIT:
            n_digits += 1
        elif kind == OTHER:
            others += 1
            dots = dots % 3 + 1 if c == 46 and previous == 46 else 1
            _count_rare(c, dots, out)
            flags |= BRACE if c == 123 else 0
        elif kind >= HAN:
            han += kind == HAN
            kana += kind == KANA
        previous = c
        if c == 10:
            sentences, seen, stops_seen = _close_tokens(
                tokens, line_token, n, lists[2], seen, stops_seen, out
            )
            line = lines[n_lines]
            line[_START], line[_STOP], line[_CHARS], line[_SOLID] = line_start, i, chars, solid
            line[_LWORDS], line[_LMAX], line[_LSENTENCES] = runs, longest, sentences
            line[_FLAGS] = flags | (TRAILS if solid < chars else 0)
            line[_HASH] = np.int64(mix(line_h) >> _ONE)
            n_lines += 1
            chars, solid, runs, longest, flags, line_h = 0, 0, 0, 0, 0, SEED
            line_start, line_token = i + 1, n
        else:
            chars += 1
            if kind == SPACE or alone:
                line_h = (line_h ^ U(c)) * PRIME
        i += width
        if kind == LETTER:  # most characters follow a letter and are plain letters themselves
            while i < end and 97 <= buf[i] | 32 <= 122:
                c = np.int64(buf[i])
                bits = np.int64(classes[c])
                run[m] = (c << BITS) | bits
                h = (h ^ U(c)) * PRIME
                every &= bits
                m += 1
                chars += 1
                total += 1
                i += 1
            previous = c
    out[_SPACES], out[_DIGITS], out[_HAN], out[_KANA] = spaces, n_digits, han, kana
    out[_OTHERS], out[_TOKENS] = others, n - first_token
    out[_LETTERS] = total - spaces - n_digits - han - kana - others
    out[_SENTENCES] += n > first_token
    for at in range(32):  # English stop words are numbered from 0, Chinese ones from 32
        out[_STOP_WORDS] += np.int64((stops_seen >> U(at + 32 * chinese)) & _ONE)
    return n_lines, n


@njit(cache=True)
def scan_texts(
    buf: NDArray, offsets: NDArray, classes: NDArray, specials: NDArray, units: NDArray,
    stops: NDArray, n_lines: int, chinese: NDArray, wanted: NDArray,
) -> Any:  # fmt: skip
    """Count characters and cut tokens and lines of some texts.

    Args:
        buf: UTF-8 of all texts, uint8.
        offsets: Starts of the texts and the end of the last one, int64.
        classes: `characters.character_table()`.
        specials: Hash table of contractions and abbreviations -> place of the cut.
        units: Hash table of units of measurement.
        stops: Hash table of stop words -> number; Chinese ones from 32.
        n_lines: Line ends plus texts.
        chinese: True for texts of which each Han or kana character is a token.
        wanted: True where tokens are; other texts get no tokens, words and sentences.

    Returns:
        Counts, int64 of shape [texts + 1, len(COUNTS)] (the last row holds where the last text's
        lines and tokens end); lines, int64 of shape [n_lines, len(LINES)]; and of the tokens
        hashes (uint64), characters (int32) and flags.
    """
    texts = offsets.size - 1
    counts = np.zeros((texts + 1, len(COUNTS)), np.int64)
    lines = np.zeros((n_lines, len(LINES)), np.int64)
    longest = 1
    for d in range(texts):
        longest = max(longest, offsets[d + 1] - offsets[d])
    run, cuts = np.empty(longest, np.int64), np.zeros(longest + 1, np.uint8)
    size = buf.size + 1
    tokens = (np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.uint8))
    line, token = ZERO, ZERO
    for d in range(texts):
        counts[d, _FIRST_LINE], counts[d, _FIRST_TOKEN] = line, token
        counts[d, _CHINESE] = chinese[d]
        line, token = _scan_one(
            buf, offsets[d], offsets[d + 1], classes, (specials, units, stops), wanted[d], run,
            cuts, lines, line, tokens, token, counts[d],
        )  # fmt: skip
    counts[texts, _FIRST_LINE], counts[texts, _FIRST_TOKEN] = line, token
    return counts, lines, tokens[0][:token], tokens[1][:token], tokens[2][:token]
