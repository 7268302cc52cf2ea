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

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.config.quality import DecontaminationConfig
from openseek.quality.heuristic import hash_table, pack

_MATCHES_LISTED = 20  # per document


@dataclass(frozen=True)
class Item:
    """One evaluation item.

    Attributes:
        task: Benchmark it belongs to.
        id: Id within the task.
        text: Question with its correct answer, as a training document might hold it.
    """

    task: str
    id: str
    text: str


@dataclass(frozen=True)
class Match:
    """A stretch of a document that is an evaluation item's, or a held-out document's."""

    task: str
    item: str
    text: str
    share: float
    """Share of the item's (or held-out document's) n-grams that the document holds."""


@dataclass
class NgramIndex:
    """A hashed n-gram -> owners table over token windows of several lengths.

    Attributes:
        names: (task, id) of each owner.
        sizes: Distinct n-grams of each owner.
        too_short: Owners that have none.
        lengths: Window lengths that occur, in tokens.
    """

    names: list[tuple[str, str]] = field(default_factory=list)
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    too_short: int = 0
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    table: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(16, np.uint64))
    slots: NDArray[np.int32] = field(default_factory=lambda: np.zeros(16, np.int32))
    bounds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    owners: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def owners_of(self, key: int) -> list[int]:
        """List the owners of an n-gram."""
        return self.owners[self.bounds[key] : self.bounds[key + 1]].tolist()


def compose_item(row: Mapping[str, Any]) -> str:
    """Compose an item's text from the string columns that its benchmark has.

    Prefers `query` with the choice that `gold` points at, then `text`, then every string column
    except the names.
    """
    query, choices, gold = row.get("query"), row.get("choices"), row.get("gold")
    if isinstance(query, str) and query.strip():
        if isinstance(choices, list) and isinstance(gold, int) and 0 <= gold < len(choices):
            return f"{query} {choices[gold]}"
        return query
    if isinstance(row.get("text"), str):
        return str(row["text"])
    return " ".join(
        v for k, v in sorted(row.items()) if isinstance(v, str) and k not in ("task", "id")
    )


def index_items(items: Iterable[Item], config: DecontaminationConfig) -> NgramIndex:
    """Build the index of evaluation items."""

    def length_of(n_tokens: int, n_cjk: int) -> int:
        full, least = (
            (config.char_ngram, config.min_chars)
            if 2 * n_cjk > n_tokens
            else (config.word_ngram, config.min_words)
        )
        return 0 if n_tokens < least else min(full, n_tokens)

    listed = list(items)
    texts = [item.text for item in listed]
    names = [(item.task, item.id) for item in listed]
    return _build(texts, names, length_of, config.template_items)


def index_documents(
    ids: Sequence[str], texts: Sequence[str], config: DecontaminationConfig
) -> NgramIndex:
    """Build the index of held-out documents, for overlap ratios."""

    def length_of(n_tokens: int, n_cjk: int) -> int:
        return config.heldout_ngram if n_tokens >= config.heldout_ngram else 0

    names = [("heldout", i) for i in ids]
    return _build(texts, names, length_of, config.template_items)


def _build(
    texts: Sequence[str], names: list[tuple[str, str]], length_of: Any, most_owners: int
) -> NgramIndex:
    from openseek.quality.kernels import tokenize, window_hashes

    buf, offsets = pack(texts)
    keys, owners, lengths = [], [], set()
    sizes = np.zeros(len(texts), np.int64)
    for i in range(len(texts)):
        hashes, _, _, n_cjk = tokenize(buf, offsets[i], offsets[i + 1])
        length = length_of(len(hashes), n_cjk)
        if length:
            found = np.unique(window_hashes(hashes, length))
            lengths.add(length)
            sizes[i] = len(found)
            keys.append(found)
            owners.append(np.full(len(found), i, np.int32))
    if not keys:
        return NgramIndex(names, sizes, len(texts))
    all_keys, all_owners = np.concatenate(keys), np.concatenate(owners)
    order = np.lexsort((all_owners, all_keys))
    all_keys, all_owners = all_keys[order], all_owners[order]
    unique, counts = np.unique(all_keys, return_counts=True)
    rare = counts <= most_owners
    kept = np.repeat(rare, counts)
    np.subtract.at(sizes, all_owners[~kept], 1)
    table, slots = hash_table(unique[rare])
    bounds = np.zeros(int(rare.sum()) + 1, np.int64)
    np.cumsum(counts[rare], out=bounds[1:])
    return NgramIndex(
        names, sizes, int((sizes <= 0).sum()), np.array(sorted(lengths), np.int64), table, slots,
        bounds, all_owners[kept],
    )  # fmt: skip


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
        from openseek.quality.kernels import tokenize

        out: list[list[Match]] = [[] for _ in range(len(offsets) - 1)]
        for row, hits in _hits(self.items, buf, offsets):
            out[row] += self._item_matches(buf, hits)
        if self.heldout is not None:
            for row, hits in _hits(self.heldout, buf, offsets):
                n_tokens = len(tokenize(buf, offsets[row], offsets[row + 1])[0])
                n_grams = n_tokens - self.config.heldout_ngram + 1
                out[row] += self._heldout_matches(buf, hits, self.heldout, n_grams)
        return out

    def _item_matches(self, buf: NDArray, hits: NDArray) -> list[Match]:
        found: dict[int, list[NDArray]] = defaultdict(list)
        for hit in hits:
            for owner in self.items.owners_of(hit[1]):
                found[owner].append(hit)
        matches = []
        for owner in sorted(found, key=lambda o: (-len(found[o]), o)):
            share = len({int(h[1]) for h in found[owner]}) / max(1, int(self.items.sizes[owner]))
            if share >= self.config.min_item_share:
                task, item = self.items.names[owner]
                matches.append(Match(task, item, _longest(buf, found[owner]), round(share, 4)))
        return matches[:_MATCHES_LISTED]

    def _heldout_matches(
        self, buf: NDArray, hits: NDArray, heldout: NgramIndex, n_grams: int
    ) -> list[Match]:
        counts: Counter[int] = Counter()
        for key in np.unique(hits[:, 1]).tolist():
            counts.update(heldout.owners_of(key))
        best: tuple[float, int] | None = None
        for owner, shared in sorted(counts.items()):
            size = max(1, int(heldout.sizes[owner]))
            near = shared / max(size, n_grams) >= self.config.heldout_overlap
            if near or shared / size >= self.config.heldout_contained:
                best = max(best or (0.0, owner), (shared / size, owner), key=lambda b: b[0])
        if best is None:
            return []
        share, owner = best
        mine = [h for h in hits if owner in heldout.owners_of(h[1])]
        task, item = heldout.names[owner]
        return [Match(task, item, _longest(buf, mine), round(share, 4))]


def _hits(index: NgramIndex, buf: NDArray, offsets: NDArray) -> Iterable[tuple[int, NDArray]]:
    """Yield (text, hits) for every text with a hit."""
    from openseek.quality.kernels import scan

    if not len(index.lengths):
        return
    room = 4096
    while True:
        hits = np.zeros((room, 4), np.int64)
        found = scan(buf, offsets, index.lengths, index.table, index.slots, hits)
        if found <= room:
            break
        room = found
    if not found:
        return
    hits = hits[:found]
    order = np.argsort(hits[:, 0], kind="stable")
    hits = hits[order]
    rows, starts = np.unique(hits[:, 0], return_index=True)
    yield from zip(rows.tolist(), np.split(hits, starts[1:]), strict=True)


def _longest(buf: NDArray, hits: Sequence[NDArray]) -> str:
    """Join overlapping hits and return the longest stretch of text, first one if equal."""
    best = (0, 0)
    start = end = -1
    for hit in sorted(hits, key=lambda h: (int(h[2]), int(h[3]))):
        if hit[2] > end:
            start = int(hit[2])
        end = max(end, int(hit[3]))
        if end - start > best[1] - best[0]:
            best = (start, end)
    return buf[best[0] : best[1]].tobytes().decode("utf-8")
