"""Sensitive words: one Aho-Corasick automaton over UTF-8 bytes for all lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from openseek.config.masking import Severity, WordsConfig, read_words
from openseek.errors import ConfigError


@dataclass(frozen=True)
class SensitiveWord:
    """One word: what happens where it occurs, and a label for the report."""

    word: str
    severity: Severity
    label: str = "sensitive"


@dataclass(frozen=True)
class WordHits:
    """What was found in one text: spans to mask in bytes, and counts by severity and label."""

    spans: tuple[tuple[int, int], ...]
    counts: dict[Severity, dict[str, int]]

    def total(self, severity: Severity) -> int:
        """Count the occurrences of one severity."""
        return sum(self.counts.get(severity, {}).values())


class WordMatcher:
    """Find sensitive words in texts. Picklable; the automaton is built where it is used."""

    def __init__(self, words: Iterable[SensitiveWord]) -> None:
        self.words: Sequence[SensitiveWord] = tuple(words)

    def __reduce__(self) -> tuple[Any, ...]:
        return (WordMatcher, (self.words,))

    @cached_property
    def _automaton(self) -> Any:
        from ahocorasick_rs import BytesAhoCorasick, MatchKind

        return BytesAhoCorasick(
            [w.word.encode().lower() for w in self.words], matchkind=MatchKind.LeftmostLongest
        )

    def places(self, data: bytes) -> list[tuple[int, int]]:
        """Find where words are in UTF-8 text of lower case, also inside others, in bytes."""
        if not self.words:
            return []
        return [(start, end) for _, start, end in self._automaton.find_matches_as_indexes(data)]

    def find(self, text: str) -> WordHits | None:
        """Find words; ASCII case is ignored, words that begin or end in ASCII match whole."""
        if not self.words:
            return None
        data = text.encode("utf-8", "replace").lower()  # bytes.lower keeps every offset
        found = self._automaton.find_matches_as_indexes(data)
        if not found:
            return None
        spans: list[tuple[int, int]] = []
        counts: dict[Severity, dict[str, int]] = {}
        for index, start, end in found:
            if _inside_word(data, start, end):
                continue
            word = self.words[index]
            of_severity = counts.setdefault(word.severity, {})
            of_severity[word.label] = of_severity.get(word.label, 0) + 1
            if word.severity == "mask":
                spans.append((start, end))
        return WordHits(tuple(spans), counts) if counts else None


def mask_spans(text: str, spans: Sequence[tuple[int, int]], mask: str) -> str:
    """Replace spans, given in bytes of UTF-8, in ascending order."""
    data = text.encode("utf-8", "replace")
    parts, at = [], 0
    for start, end in spans:
        parts += [data[at:start], mask.encode()]
        at = end
    return b"".join([*parts, data[at:]]).decode()


def load_words(config: WordsConfig) -> WordMatcher:
    """Read the configured lists; the first list that has a word decides its severity.

    Raises:
        ConfigError: A line is not `severity<TAB>word[<TAB>label]`.
    """
    words: dict[str, SensitiveWord] = {}
    for source in config.lists:
        lines = read_words(source.path).decode("utf-8-sig").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) < 2 or fields[0] not in get_args(Severity) or not fields[1].strip():
                raise ConfigError(
                    f"not a word of a sensitive-word list: {line[:80]!r}",
                    where=f"{source.path}:{number}",
                    mend="Write drop, mask or flag, a tab, and the word; a label may follow.",
                )
            label = fields[2].strip() if len(fields) > 2 and fields[2].strip() else "sensitive"
            word = fields[1].strip()
            words.setdefault(word.lower(), SensitiveWord(word, _severity(fields[0]), label))
    return WordMatcher(words.values())


def _severity(name: str) -> Severity:
    return "drop" if name == "drop" else "mask" if name == "mask" else "flag"


def _inside_word(data: bytes, start: int, end: int) -> bool:
    before = start > 0 and _latin(data[start]) and _latin(data[start - 1])
    after = end < len(data) and _latin(data[end - 1]) and _latin(data[end])
    return before or after


def _latin(byte: int) -> bool:
    return 97 <= byte <= 122 or 48 <= byte <= 57 or byte == 95
