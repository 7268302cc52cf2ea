"""Finding evaluation items and held-out documents inside training text.

Text becomes tokens: runs of letters and digits, lower-cased, and single Chinese characters;
punctuation and layout never matter. An item is cut into n-grams (13 words, or 20 characters where
most of it is Chinese) and each is looked up in every document.

- An item shorter than one n-gram matches as a whole, from `min_words` (`min_chars`) on; shorter
  ones, such as "The answer is yes", would hit everywhere and are left out, and counted.
- n-grams that more than `template_items` items share are the words of a prompt, not of an item.
- n-grams are compared by 64-bit hashes: against a million item n-grams about one false hit in 10^12
  tokens of training text.

A training document D and a held-out document H are near-duplicates when they share half of the
longer one's n-grams, |H ∩ D| / max(|H|, |D|) >= 0.5; and D gives H away when it holds nearly all of
it, |H ∩ D| / |H| >= 0.8. A licence header that both carry is neither.

Source: Brown et al. 2020, appendix C (13-gram collisions). OpenSeek's own code took 10-grams of
jieba words, compared by difflib and stopped at a document's first item; here all are listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import DecontaminationConfig
from openseek.quality.heuristic import pack
from openseek.quality.items import Item
from openseek.quality.ngram_index import NgramIndex, build_index

_MATCHES_LISTED = 20  # items per document
_SPANS_LISTED = 20  # stretches per item and document
_QUOTED_BYTES = 4000  # of the longest stretch: a text that repeats an item may be one of megabytes


@dataclass(frozen=True)
class Match:
    """What of an evaluation item, or of a held-out document, a document holds.

    Attributes:
        task: Benchmark, or `heldout`.
        item: Id of the item or of the held-out document.
        text: The longest stretch, its first 4,000 bytes.
        share: Share of the item's n-grams that the document holds.
        spans: All stretches, in characters of the document, begin and end; at most 20.
    """

    task: str
    item: str
    text: str
    share: float
    spans: tuple[tuple[int, int], ...] = ()


def index_items(items: Iterable[Item], config: DecontaminationConfig) -> NgramIndex:
    """Build the index of evaluation items.

    A question that is long enough to mean something and shorter than an n-gram also matches whole,
    without its answer: documents often list the choices in between.
    """
    listed = list(items)

    def length_of(n_tokens: int, n_cjk: int) -> int:
        full, least = _limits(n_tokens, n_cjk, config)
        return 0 if n_tokens < least else min(full, n_tokens)

    parts = [(i, item.text) for i, item in enumerate(listed)]
    for i, item in enumerate(listed):
        if item.question and item.question != item.text and _is_short(item.question, config):
            parts.append((i, item.question))
    names = [(item.task, item.id) for item in listed]
    return build_index(parts, names, length_of, config.template_items)


def _limits(n_tokens: int, n_cjk: int, config: DecontaminationConfig) -> tuple[int, int]:
    """Return the n-gram and the shortest text that counts, by whether most of it is Chinese."""
    if 2 * n_cjk > n_tokens:
        return config.char_ngram, config.min_chars
    return config.word_ngram, config.min_words


def _is_short(text: str, config: DecontaminationConfig) -> bool:
    from openseek.quality.kernels import tokenize

    buf, offsets = pack([text])
    hashes, _, _, n_cjk = tokenize(buf, 0, int(offsets[1]))
    return len(hashes) < _limits(len(hashes), n_cjk, config)[0]


def index_documents(
    ids: Sequence[str], texts: Sequence[str], config: DecontaminationConfig
) -> NgramIndex:
    """Build the index of held-out documents, for overlap ratios."""

    def length_of(n_tokens: int, n_cjk: int) -> int:
        return config.heldout_ngram if n_tokens >= config.heldout_ngram else 0

    names = [("heldout", i) for i in ids]
    return build_index(list(enumerate(texts)), names, length_of, config.template_items)


class Decontaminator:
    """Compare texts with evaluation items and, if given, with held-out documents.

    Args:
        config: Lengths and thresholds.
        items: Index of evaluation items.
        heldout: Index of held-out documents.
    """

    def __init__(
        self, config: DecontaminationConfig, items: NgramIndex, heldout: NgramIndex | None = None
    ) -> None:
        self.config = config
        self.items = items
        self.heldout = heldout

    def check(self, texts: Sequence[str]) -> list[list[Match]]:
        """Return the matches of each text; an empty list is a clean text."""
        return self.check_buffer(*pack(texts))

    def check_buffer(self, buf: NDArray, offsets: NDArray) -> list[list[Match]]:
        """Do the same for texts in Arrow's layout."""
        from openseek.quality.kernels import count_tokens

        out: list[list[Match]] = [[] for _ in range(len(offsets) - 1)]
        for row, hits in self.items.hits(buf, offsets):
            text = buf[offsets[row] : offsets[row + 1]]
            hits[:, 2:] -= offsets[row]
            out[row] += self._item_matches(text, hits)
        if self.heldout is not None:
            for row, hits in self.heldout.hits(buf, offsets):
                n_tokens = count_tokens(buf, offsets[row], offsets[row + 1])
                n_grams = n_tokens - self.config.heldout_ngram + 1
                text = buf[offsets[row] : offsets[row + 1]]
                hits[:, 2:] -= offsets[row]
                out[row] += self._heldout_matches(text, hits, self.heldout, n_grams)
        return out

    def _item_matches(self, text: NDArray, hits: NDArray) -> list[Match]:
        held = _Held(self.items, hits)
        matches: list[Match] = []
        for owner in sorted(held.keys, key=lambda o: (-len(held.keys[o]), o)):
            share = len(held.keys[owner]) / max(1, int(self.items.sizes[owner]))
            if share >= self.config.min_item_share and len(matches) < _MATCHES_LISTED:
                matches.append(_match(self.items.names[owner], text, held.of(owner), share))
        return matches

    def _heldout_matches(
        self, text: NDArray, hits: NDArray, heldout: NgramIndex, n_grams: int
    ) -> list[Match]:
        held = _Held(heldout, hits)
        best: tuple[float, int] | None = None
        for owner, keys in sorted(held.keys.items()):
            size, shared = max(1, int(heldout.sizes[owner])), len(keys)
            near = shared / max(size, n_grams) >= self.config.heldout_overlap
            if near or shared / size >= self.config.heldout_contained:
                best = max(best or (0.0, owner), (shared / size, owner), key=lambda b: b[0])
        if best is None:
            return []
        share, owner = best
        return [_match(heldout.names[owner], text, held.of(owner), share)]


class _Held:
    """Whose n-grams one text holds.

    Attributes:
        keys: Owner -> its n-grams in the text, as positions in the text's distinct ones.
    """

    def __init__(self, index: NgramIndex, hits: NDArray) -> None:
        self._hits = hits
        distinct, self._at = np.unique(hits[:, 1], return_inverse=True)
        self._distinct = len(distinct)
        self.keys: dict[int, list[int]] = defaultdict(list)
        for at, key in enumerate(distinct.tolist()):
            for owner in index.owners_of(key):
                self.keys[owner].append(at)

    def of(self, owner: int) -> NDArray:
        """Return the hits of one owner."""
        mine = np.zeros(self._distinct, np.bool_)
        mine[self.keys[owner]] = True
        return np.asarray(self._hits[mine[self._at]])


def _match(name: tuple[str, str], text: NDArray, hits: NDArray, share: float) -> Match:
    """Join overlapping hits to stretches; quote the longest one, the first if equal."""
    starts, ends = _stretches(hits[:, 2], hits[:, 3])
    longest = int(np.argmax(ends - starts))
    start = int(starts[longest])
    end = min(int(ends[longest]), start + _QUOTED_BYTES)
    quoted = text[start:end].tobytes().decode("utf-8", "ignore")  # a cut may split a character
    places = zip(starts[:_SPANS_LISTED].tolist(), ends[:_SPANS_LISTED].tolist(), strict=True)
    spans, seen, chars = [], 0, 0
    for a, b in places:
        first = chars + _characters(text[seen:a])
        seen, chars = b, first + _characters(text[a:b])
        spans.append((first, chars))
    return Match(name[0], name[1], quoted, round(share, 4), tuple(spans))


def _stretches(starts: NDArray, ends: NDArray) -> tuple[NDArray, NDArray]:
    """Join stretches that overlap or touch, in order of their begin."""
    order = np.lexsort((ends, starts))
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    fresh = np.flatnonzero(starts[1:] > reach[:-1]) + 1
    return starts[np.concatenate([[0], fresh])], reach[np.concatenate([fresh - 1, [-1]])]


def _characters(part: NDArray) -> int:
    return int(np.count_nonzero((part & 0xC0) != 0x80))  # bytes that begin a character
