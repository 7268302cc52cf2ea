"""All cleaning of a batch of documents, in order: the one place that knows it.

normalise -> count -> language -> rules on the text as it came -> lines -> rules -> Traditional to
Simplified -> sensitive words -> personal data. What a rule drops is not worked on any further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from openseek.cleaning.chinese import simplify
from openseek.cleaning.code import is_generated, without_licence
from openseek.cleaning.formulas import is_mathematical
from openseek.cleaning.language import identify_all, language_group
from openseek.cleaning.lines import remove_citations, unwanted_lines, without_lines
from openseek.cleaning.looks import Look, look_at
from openseek.cleaning.pii import Hints, mask_pii
from openseek.cleaning.rules import judge, wanted_repetition, wants_words
from openseek.cleaning.secrets import secret_starts
from openseek.cleaning.signs import SYMBOLS, signs_of
from openseek.cleaning.spelling import normalise
from openseek.cleaning.stats import Scan, Statistics, scan
from openseek.cleaning.words import WordMatcher, load_words, mask_spans
from openseek.config.categories import PROSE
from openseek.config.cleaning import CleaningConfig, RuleBlock

_GUESS = 0.3  # a document of unknown language is called by a guess at least this probable


@dataclass
class CleanResult:
    """What became of one document.

    Attributes:
        text: The cleaned text; of a dropped document, as far as it was cleaned.
        lang: Its language (BCP 47).
        reason: Why it was dropped; "" if it is kept.
        changes: What changed it, with how often: `normalise.nfc`, `simplify`, `pii.email`.
        flags: Labels of `flag` words, with how often.
        failed: Every rule that it fails; the first one is `reason`.
        formulas: Whether the rules take it for mathematics, whatever its category.
    """

    text: str
    lang: str
    reason: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    formulas: bool = False


@dataclass(frozen=True)
class _Rows:
    """A batch: results so far, categories and sources."""

    results: list[CleanResult]
    categories: list[str]
    sources: list[str]

    def only(self, places: Sequence[int]) -> _Rows:
        return _Rows(
            [self.results[i] for i in places],
            [self.categories[i] for i in places],
            [self.sources[i] for i in places],
        )


class Cleaner:
    """Clean documents by one configuration.

    Args:
        config: What to do.
        words: Sensitive words; none: the configured lists are read.
    """

    def __init__(self, config: CleaningConfig, words: WordMatcher | None = None) -> None:
        self.config = config
        self.words = load_words(config.words) if words is None else words
        # In a program a full-width letter may be what it is about.
        self._code_spelling = config.normalise.model_copy(update={"width": False})

    def clean(
        self,
        texts: Sequence[str],
        langs: Sequence[str],
        categories: Sequence[str],
        sources: Sequence[str] = (),
    ) -> list[CleanResult]:
        """Clean a batch.

        Args:
            texts: Texts.
            langs: Declared languages (BCP 47; `und` for unknown).
            categories: foundation, code, math or cot.
            sources: Names of their sources, for blocks that name some; empty: unknown.

        Returns:
            One result a text, in order.
        """
        if not texts:
            return []
        signs, encoded = signs_of(texts, self.config.normalise.max_blank_lines)
        columns = zip(texts, langs, categories, signs, strict=True)
        results = [self._spell(*row) for row in columns]
        for i, (text, result) in enumerate(zip(texts, results, strict=True)):
            if result.text is not text:
                encoded[i] = result.text.encode()
        rows = _Rows(results, list(categories), list(sources or [""] * len(results)))
        look = look_at(encoded, head=self.config.language.max_chars)
        self._languages(rows, look)
        self._filter(rows, look)
        all_hints, worded = self._hints(look)
        for i, (result, category) in enumerate(zip(results, categories, strict=True)):
            if not result.reason:
                self._rewrite(result, category, all_hints[i], worded=worded[i])
        return results

    def _hints(self, found: Look) -> tuple[list[Hints], list[bool]]:
        """Say what texts may hold, and whether it may be a sensitive word.

        One search over the batch, in which a match may hide one of the next text: so a text
        counts as well if it only has the end of a match.
        """
        data, c = found.buf.tobytes(), found.counts
        secret = found.holding(secret_starts(data)) if self.config.pii.enabled else c["at_signs"]
        columns = (
            c["at_signs"], c["long_numbers"], c["dotted_numbers"], c["foreign_numbers"],
            c["hex_colons"], secret | (c["at_signs"] > 0),
        )  # fmt: skip
        rows = np.stack([column > 0 for column in columns], axis=1).tolist()
        worded = found.holding(self.words.places(data.lower()))
        return [Hints(*row) for row in rows], worded.tolist()

    def _filter(self, rows: _Rows, look: Look) -> None:
        """Judge texts, remove lines, and judge those again that lost some."""
        blocks = self.config.blocks
        if not blocks and not self.config.lines.categories:
            for result in rows.results:
                if not result.text.strip():
                    result.reason = result.reason or "empty"
            return
        found = self._scan(rows, look)
        if any(result.formulas for result in rows.results):
            rows = replace(rows, categories=_as_judged(rows))
        before = {name: block for name, block in blocks.items() if block.before_lines}
        after = {name: block for name, block in blocks.items() if not block.before_lines}
        stats = Statistics(found)
        if before:
            self._rules(rows, stats, before)
        changed = self._lines(rows, found)
        self._rules(rows, stats, after, skip=changed)
        if changed:
            own = rows.only(changed)
            look = look_at([result.text.encode() for result in own.results])
            self._rules(own, Statistics(self._scan(own, look)), after)

    def _scan(self, rows: _Rows, look: Look) -> Scan:
        columns = np.array(rows.categories), np.array(rows.sources)
        wanted = wants_words(self.config.blocks, *columns)
        return scan(look, han_words=self.config.han_words, wanted=wanted)

    def _spell(self, text: str, lang: str, category: str, signs: int) -> CleanResult:
        spelling = self._code_spelling if category == "code" else self.config.normalise
        text, names = normalise(text, spelling, signs)
        result = CleanResult(text, lang, changes={f"normalise.{n}": 1 for n in names})
        if self.config.lines.citations and category in self.config.lines.categories:
            text = remove_citations(text)
            if text != result.text:
                result.text = text
                result.changes["citations"] = 1
        if category == "code":
            self._code(result)
        elif category in PROSE:
            symbols = signs & SYMBOLS > 0
            result.formulas = is_mathematical(result.text, self.config.math, symbols=symbols)
        return result

    def _code(self, result: CleanResult) -> None:
        config = self.config.code
        if is_generated(result.text, config.generated):
            result.reason = "code.generated"
            result.failed = (result.reason,)
        elif config.licences == "remove":
            text = without_licence(result.text)
            if text != result.text:
                result.text = text
                result.changes["licence"] = 1

    def _languages(self, rows: _Rows, look: Look) -> None:
        config = self.config.language
        if not config.enabled:
            return
        chinese, english = look.chinese.tolist(), look.english.tolist()
        asked = [
            i
            for i, (result, category) in enumerate(zip(rows.results, rows.categories, strict=True))
            if category != "code"
            and (category in config.categories or result.lang == "und" or chinese[i])
        ]
        unsure = [i for i in asked if not chinese[i] and not english[i]]
        texts = [rows.results[i].text for i in unsure]
        named = dict(zip(unsure, identify_all(texts, max_chars=config.max_chars), strict=True))
        for i in asked:
            language, score = named.get(i, ("zh" if chinese[i] else "en", 1.0))
            self._language(rows.results[i], rows.categories[i], language, score)

    def _language(self, result: CleanResult, category: str, found: str, score: float) -> None:
        config = self.config.language
        declared = result.lang
        sure = score >= config.foreign_score
        differs = language_group(found) != language_group(declared)
        if (sure and differs) or (declared == "und" and score >= _GUESS):
            result.lang = found
        if result.lang != declared:
            result.changes["language"] = 1
        unwanted = language_group(result.lang) not in config.keep
        filtered = category in config.categories
        if filtered and unwanted and (sure or declared not in ("und", found)):
            result.reason = "language"

    def _lines(self, rows: _Rows, found: Scan) -> list[int]:
        """Remove lines; return which texts lost some."""
        config = self.config.lines
        treated = [
            not result.reason and category in config.categories
            for result, category in zip(rows.results, rows.categories, strict=True)
        ]
        if not any(treated):
            return []
        remove, drop = unwanted_lines(found, config)
        removed = found.per_text(remove)
        changed = []
        for i, result in enumerate(rows.results):
            if treated[i] and drop[i]:
                result.reason = "lines.page_phrase"
                result.failed += (result.reason,)
            elif treated[i] and removed[i]:
                strip = config.terminal != "any" or config.min_words > 0
                result.text = without_lines(found, i, remove, strip=strip)
                result.changes["lines"] = int(removed[i])
                changed.append(i)
        return changed

    def _rules(
        self,
        rows: _Rows,
        stats: Statistics,
        blocks: dict[str, RuleBlock],
        skip: Sequence[int] = (),
    ) -> None:
        """Apply rule blocks to all texts but those to skip."""
        results = rows.results
        groups = np.array([language_group(r.lang) for r in results])
        columns = (np.array(rows.categories), groups, np.array(rows.sources))
        dropped = np.array([bool(r.reason) for r in results])
        dropped[list(skip)] = True
        values = stats.values if blocks else {}
        _, cheap = judge(blocks, values, *columns)
        for fails in cheap.values():
            dropped |= fails
        stats.measure_repetition(np.where(dropped, 0, wanted_repetition(blocks, *columns)))
        reasons, hits = judge(blocks, values, *columns)
        skipped = set(skip)
        for reason, fails in hits.items():
            for i in np.flatnonzero(fails).tolist():
                if i not in skipped:
                    results[i].failed += (reason,)
        empty = stats.found.chars == stats.found.counts["spaces"]
        for i in np.flatnonzero(empty | np.array([bool(r) for r in reasons])).tolist():
            if i not in skipped:
                results[i].reason = results[i].reason or ("empty" if empty[i] else reasons[i])

    def _rewrite(self, result: CleanResult, category: str, hints: Hints, *, worded: bool) -> None:
        config = self.config
        zh = language_group(result.lang) == "zh"
        if config.simplify.enabled and zh and category in config.simplify.categories:
            simple = simplify(result.text, config.simplify.scheme)
            if simple != result.text:
                result.text = simple
                result.changes["simplify"] = 1
            result.lang = "zh-Hans"
        if category in config.words.categories and (worded or "simplify" in result.changes):
            self._sensitive(result)
            if result.reason:
                return
        if kinds := config.pii.of(category):
            result.text, masked = mask_pii(result.text, kinds, hints)
            for kind, n in masked.items():
                result.changes[f"pii.{kind}"] = n

    def _sensitive(self, result: CleanResult) -> None:
        hits = self.words.find(result.text)
        if hits is None:
            return
        if hits.total("drop") >= self.config.words.drop_hits:
            result.reason = "words." + min(hits.counts["drop"])
            return
        result.flags = dict(sorted(hits.counts.get("flag", {}).items()))
        if hits.spans:
            result.text = mask_spans(result.text, hits.spans, self.config.words.mask)
            result.changes["words"] = len(hits.spans)


def _as_judged(rows: _Rows) -> list[str]:
    """Name the category whose rules each document is judged by."""
    pairs = zip(rows.results, rows.categories, strict=True)
    return ["math" if result.formulas else category for result, category in pairs]


def clean_text(
    text: str, lang: str = "und", category: str = "foundation", config: CleaningConfig | None = None
) -> CleanResult:
    """Clean one text; for many, one `Cleaner` and batches are far quicker.

    Args:
        text: A text.
        lang: Its declared language (BCP 47), or `und`.
        category: foundation, code, math or cot.
        config: What to do; none: the defaults.
    """
    return Cleaner(config or CleaningConfig()).clean([text], [lang], [category])[0]
