"""Statistics of documents, from the compiled passes, as the rules name them.

- `chars`, `bytes`, `words`, `lines`, `sentences`: sizes. A line has something else than spaces;
  a word is a run of letters and digits.
- `mean_line_chars`, `max_line_chars`, `mean_sentence_chars`, `mean_word_chars`, `max_word_chars`.
- `alpha_words`: share of words with a letter. `stop_words`: distinct stop words.
- `hash_per_word`, `ellipsis_per_word`, `newlines_per_word`: per word; Han characters are words too.
- `bullet_lines`, `ellipsis_lines`, `terminal_lines` (end of a sentence), `short_lines` (up to 30
  characters): shares of lines.
- `alnum`, `digits`, `han`, `replacement`, `braces`: shares of characters that are no spaces;
  `braces` is a count.
- `dup_…`, `top_…`: see `openseek.cleaning.kernels.measure_repetition`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from openseek.cleaning.kernels import (
    COUNTS,
    REPETITION,
    count_characters,
    hash_word,
    measure_repetition,
)

STOP_WORDS_EN = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's eight
STOP_WORDS_ZH = tuple("的一是不了在有我人这這中大来來上为為和也之以其于於而者所无無与與此")
Floats = NDArray[np.float64]


def pack(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Lay texts out as one buffer of UTF-8 and offsets. Lone surrogates become `?`."""
    encoded = [t.encode("utf-8", "replace") for t in texts]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(e) for e in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def count(buf: NDArray[np.uint8], offsets: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Run the counting pass; return one array a column."""
    table = count_characters(buf, offsets, *_stop_words())
    return {name: table[:, i] for i, name in enumerate(COUNTS)}


def derive(
    counts: dict[str, NDArray[np.int64]], n_bytes: NDArray[np.int64], zh: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Turn counts into the statistics that rules name."""
    c = counts
    words = c["words"] + c["han"] + c["kana"]
    solid = c["chars"] - c["spaces"]
    # A text without an end of a sentence is one sentence.
    sentences = np.maximum(c["sentences"], 1)
    return {
        "chars": c["chars"].astype(np.float64),
        "bytes": n_bytes.astype(np.float64),
        "words": words.astype(np.float64),
        "lines": c["lines"].astype(np.float64),
        "sentences": c["sentences"].astype(np.float64),
        "mean_line_chars": _per(c["line_chars"], c["lines"]),
        "max_line_chars": c["max_line_chars"].astype(np.float64),
        "mean_sentence_chars": _per(c["chars"], sentences),
        "mean_word_chars": _per(c["word_chars"], c["words"]),
        "max_word_chars": c["max_word_chars"].astype(np.float64),
        "alpha_words": _per(c["alpha_words"] + c["han"] + c["kana"], words),
        "stop_words": np.where(zh, c["stop_words_zh"], c["stop_words_en"]).astype(np.float64),
        "hash_per_word": _per(c["hashes"], words),
        "ellipsis_per_word": _per(c["ellipses"], words),
        "newlines_per_word": _per(c["newlines"], words),
        "bullet_lines": _per(c["bullet_lines"], c["lines"]),
        "ellipsis_lines": _per(c["ellipsis_lines"], c["lines"]),
        "terminal_lines": _per(c["terminal_lines"], c["lines"]),
        "short_lines": _per(c["short_lines"], c["lines"]),
        "alnum": _per(c["letters"] + c["digits"] + c["han"] + c["kana"], solid),
        "digits": _per(c["digits"], solid),
        "han": _per(c["han"], solid),
        "replacement": _per(c["replacements"], solid),
        "braces": c["braces"].astype(np.float64),
    }


def repetition(
    buf: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    zh: NDArray[np.bool_],
) -> dict[str, Floats]:
    """Run the repetition pass; texts that are not wanted get zeros."""
    table = measure_repetition(buf, offsets, wanted, zh)
    return {name: table[:, i] for i, name in enumerate(REPETITION)}


def document_stats(texts: Sequence[str], *, chinese: Sequence[bool] = ()) -> dict[str, Floats]:
    """Measure everything about some texts.

    Args:
        texts: Texts.
        chinese: Which of them are Chinese (characters are words); empty: told by script.

    Returns:
        Statistic -> one value a text.
    """
    buf, offsets = pack(texts)
    counts = count(buf, offsets)
    zh = np.array(chinese, np.bool_) if len(chinese) else chinese_script(counts)
    table = derive(counts, np.diff(offsets), zh)
    return table | repetition(buf, offsets, np.ones(len(texts), np.bool_), zh)


def chinese_script(counts: dict[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Tell Chinese texts by their characters: mostly Han and hardly any kana.

    A Han character weighs two letters; it carries about as much text.
    """
    han = counts["han"]
    return np.asarray((2 * han > counts["letters"]) & (20 * counts["kana"] < han))


def _per(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    return np.asarray(part / np.maximum(whole, 1), np.float64)


@lru_cache(maxsize=1)
def _stop_words() -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    words = STOP_WORDS_EN + STOP_WORDS_ZH
    hashes = [hash_word(np.frombuffer(w.encode(), np.uint8)) for w in words]
    found = np.array(hashes, np.uint64)
    order = np.argsort(found)
    return found[order], (np.arange(len(words)) >= len(STOP_WORDS_EN))[order]
