"""Statistics of documents, from the compiled passes, as the rules name them.

Tokens are cut as `scan` says (spaces, then punctuation, spaCy's English rules; in Chinese texts
characters); a *word* is a token that is not all punctuation; a line has something else than spaces.

- `chars`, `bytes`, `words`, `lines`, `sentences`, `line_sentences` (each line by itself): sizes.
- `mean_line_chars`, `max_line_chars`, `mean_sentence_chars`, `mean_word_chars`, `max_word_chars`.
- `alpha_words`: share of tokens with a letter (Gopher); `alpha_per_word`: the same of words.
  `stop_words`: distinct stop words.
- `hash_per_word`, `ellipsis_per_word`, `newlines_per_word`: per token.
- `bullet_lines`, `ellipsis_lines`: shares of all lines, also blank ones (Gopher);
  `terminal_lines` (end of a sentence), `short_lines` (up to 30 characters): shares of lines.
- `alnum`, `digits`, `han`, `replacement`: shares of characters that are no spaces; `braces`:
  number of opening curly ones.
- `dup_…`, `top_…`: see `openseek.cleaning.repetition`; shares of all characters, but
  `dup_solid_line_chars` of those of lines (FineWeb).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from openseek.cleaning.characters import character_table
from openseek.cleaning.lexicon import lexicon
from openseek.cleaning.looks import Look, look_at
from openseek.cleaning.repetition import REPETITION, measure_repetition
from openseek.cleaning.scan import BULLET, COUNTS, DOTS, ENDS, LINES, TRAILS, scan_texts

_SHORT_LINE = 30  # characters; FineWeb's value
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Scan:
    """What the compiled pass found in a batch of texts.

    Attributes:
        buf: UTF-8 of all texts; `offsets` their starts, and the end of the last one.
        counts: Column of `scan.COUNTS` -> one value a text.
        lines: Column of `scan.LINES` -> one value a line.
        first_line: First line of each text, and the end of the last one; `first_token` likewise.
        token_hashes: Hash of each token; `token_chars` its characters.
    """

    buf: NDArray[np.uint8]
    offsets: Integers
    counts: dict[str, Integers]
    lines: dict[str, Integers]
    first_line: Integers
    first_token: Integers
    token_hashes: NDArray[np.uint64]
    token_chars: NDArray[np.int32]

    @property
    def chars(self) -> Integers:
        """Characters of each text."""
        kinds = ("other", "spaces", "letters", "digits", "han", "kana")
        return np.asarray(sum(self.counts[kind] for kind in kinds), np.int64)

    @property
    def chinese(self) -> NDArray[np.bool_]:
        """Which texts are Chinese by their characters."""
        return np.asarray(self.counts["chinese"] > 0)

    def per_text(self, of_lines: NDArray[np.int64] | NDArray[np.bool_]) -> Integers:
        """Add a value of lines up by text."""
        return np.add.reduceat(of_lines.astype(np.int64), self.first_line[:-1])


def scan(look: Look, *, han_words: bool = True, wanted: NDArray[np.bool_] | None = None) -> Scan:
    """Run the compiled pass over some texts.

    Args:
        look: The texts.
        han_words: In a Chinese text each character is a word.
        wanted: Texts whose words are to be counted; none: all.
    """
    buf, offsets, chinese = look.buf, look.offsets, look.chinese & han_words
    wanted = np.ones(chinese.size, np.bool_) if wanted is None else wanted
    lists = lexicon()
    n_lines = int(np.count_nonzero(buf == 10)) + chinese.size
    counts, lines, hashes, chars, _ = scan_texts(
        buf, offsets, character_table(), lists.specials, lists.units, lists.stops, n_lines,
        chinese, wanted,
    )  # fmt: skip
    table = {name: counts[:-1, i] for i, name in enumerate(COUNTS)}
    return Scan(
        buf=buf,
        offsets=offsets,
        counts=table,
        lines={name: lines[:, i] for i, name in enumerate(LINES)},
        first_line=np.ascontiguousarray(counts[:, COUNTS.index("first_line")]),
        first_token=np.ascontiguousarray(counts[:, COUNTS.index("first_token")]),
        token_hashes=hashes,
        token_chars=chars,
    )


def derive(found: Scan) -> dict[str, Floats]:
    """Turn counts into the statistics that rules name."""
    c, chars, tokens = found.counts, found.chars, found.counts["tokens"]
    solid = chars - c["spaces"]
    return {
        "chars": chars.astype(np.float64),
        "bytes": np.diff(found.offsets).astype(np.float64),
        "words": c["words"].astype(np.float64),
        "sentences": c["sentences"].astype(np.float64),
        # A text without an end of a sentence is one sentence.
        "mean_sentence_chars": _per(chars, np.maximum(c["sentences"], 1)),
        "mean_word_chars": _per(c["word_chars"], c["words"]),
        "max_word_chars": c["max_word_chars"].astype(np.float64),
        "alpha_words": _per(c["alpha_tokens"], tokens),
        "alpha_per_word": _per(c["alpha_tokens"], c["words"]),
        "stop_words": c["stop_words"].astype(np.float64),
        "hash_per_word": _per(c["hashes"], tokens),
        "ellipsis_per_word": _per(c["ellipses"], tokens),
        "newlines_per_word": _per(np.diff(found.first_line) - 1, tokens),
        "alnum": _per(c["letters"] + c["digits"] + c["han"] + c["kana"], solid),
        "digits": _per(c["digits"], solid),
        "han": _per(c["han"], solid),
        "replacement": _per(c["replacements"], solid),
        "braces": c["braces"].astype(np.float64),
        **_of_lines(found),
    }


def _of_lines(found: Scan) -> dict[str, Floats]:
    flags, lines = found.lines["flags"], found.lines
    filled = lines["solid_chars"] > 0
    n = found.per_text(filled)
    # A line end at the end of the text opens no further line.
    last_is_empty = lines["chars"][found.first_line[1:] - 1] == 0
    n_all = np.diff(found.first_line) - last_is_empty
    ends = (flags & ENDS > 0) & (flags & TRAILS == 0)
    return {
        "lines": n.astype(np.float64),
        "line_sentences": found.per_text(lines["sentences"]).astype(np.float64),
        "mean_line_chars": _per(found.per_text(lines["solid_chars"]), n),
        "max_line_chars": np.maximum.reduceat(
            lines["solid_chars"], found.first_line[:-1]
        ).astype(np.float64),
        "bullet_lines": _per(found.per_text(flags & BULLET > 0), n_all),
        "ellipsis_lines": _per(found.per_text(flags & DOTS > 0), n_all),
        "terminal_lines": _per(found.per_text(filled & ends), n),
        "short_lines": _per(found.per_text(filled & (lines["chars"] <= _SHORT_LINE)), n),
    }  # fmt: skip


class Statistics:
    """Statistics of a batch, one value a text; repetition is measured where it is asked for.

    Attributes:
        found: The scan that they come from.
    """

    def __init__(self, found: Scan) -> None:
        self.found = found
        self._levels = np.zeros(found.chars.size, np.int8)

    @cached_property
    def values(self) -> dict[str, Floats]:
        """Statistic -> values; those of repetition are zero until they are measured."""
        return derive(self.found)

    def measure_repetition(self, levels: NDArray[np.int8]) -> None:
        """Run the repetition pass.

        Args:
            levels: For each text 0 for nothing, 1 for its lines and paragraphs, 2 for its n-grams
                as well. What is there already is not measured again.
        """
        levels = np.where(levels > self._levels, levels, np.int8(0))
        found, texts = self.found, levels > 0
        if not texts.any():
            return
        lines = np.stack([found.lines[n] for n in ("chars", "solid_chars", "hash")], axis=1)
        table = measure_repetition(
            lines, found.first_line, found.token_hashes, found.token_chars, found.first_token,
            found.chars, levels, found.chinese,
        )  # fmt: skip
        for i, name in enumerate(REPETITION):
            column = self.values.setdefault(name, np.zeros(levels.size, np.float64))
            column[texts] = table[texts, i]
        self._levels = np.maximum(self._levels, levels)


def document_stats(texts: Sequence[str], *, han_words: bool = True) -> dict[str, Floats]:
    """Measure everything about some texts.

    Args:
        texts: Texts.
        han_words: In a Chinese text each character is a word.

    Returns:
        Statistic -> one value a text.
    """
    if not texts:
        return {}
    encoded = [text.encode("utf-8", "replace") for text in texts]
    stats = Statistics(scan(look_at(encoded), han_words=han_words))
    stats.measure_repetition(np.full(len(texts), 2, np.int8))
    return stats.values


def _per(part: Integers, whole: Integers) -> Floats:
    return np.asarray(part / np.maximum(whole, 1), np.float64)
