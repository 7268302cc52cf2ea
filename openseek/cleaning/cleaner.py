"""All cleaning of a batch of documents, in order: the one place that knows it.

normalise -> boilerplate lines -> count -> language -> rules -> Traditional to Simplified ->
sensitive words -> personal data. What a rule drops is not worked on any further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openseek.cleaning.chinese import simplify
from openseek.cleaning.language import identify, language_group
from openseek.cleaning.lines import remove_lines
from openseek.cleaning.pii import Hints, mask_pii
from openseek.cleaning.rules import judge, wants_repetition
from openseek.cleaning.spelling import normalise
from openseek.cleaning.stats import chinese_script, count, derive, pack, repetition
from openseek.cleaning.words import WordMatcher, load_words, mask_spans
from openseek.config.cleaning import CleaningConfig

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
    """

    text: str
    lang: str
    reason: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    failed: tuple[str, ...] = ()


class Cleaner:
    """Clean documents by one configuration.

    Args:
        config: What to do.
        words: Sensitive words; none: the configured lists are read.
    """

    def __init__(self, config: CleaningConfig, words: WordMatcher | None = None) -> None:
        self.config = config
        self.words = load_words(config.words) if words is None else words

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
        results = [
            self._spell(text, lang, category)
            for text, lang, category in zip(texts, langs, categories, strict=True)
        ]
        buf, offsets = pack([r.text for r in results])
        counts = count(buf, offsets)
        zh = chinese_script(counts)
        for i, (result, category) in enumerate(zip(results, categories, strict=True)):
            self._language(result, category, bool(zh[i]))
        self._rules(results, buf, offsets, counts, categories, sources or [""] * len(results))
        at, long, dots = counts["at_signs"], counts["long_numbers"], counts["dotted_numbers"]
        for i, (result, category) in enumerate(zip(results, categories, strict=True)):
            if not result.reason:
                hints = Hints(bool(at[i]), bool(long[i]), bool(dots[i] >= 3))
                self._rewrite(result, category, hints)
        return results

    def _spell(self, text: str, lang: str, category: str) -> CleanResult:
        text, names = normalise(text, self.config.normalise)
        result = CleanResult(text, lang, changes={f"normalise.{n}": 1 for n in names})
        lines = self.config.lines
        if category in lines.categories:
            result.text, removed = remove_lines(text, lines.phrases, lines.max_chars)
            if removed:
                result.changes["lines"] = removed
        return result

    def _language(self, result: CleanResult, category: str, zh: bool) -> None:
        config = self.config.language
        filtered = category in config.categories
        if not config.enabled or category == "code" or not (filtered or result.lang == "und" or zh):
            return
        declared = result.lang
        if zh:
            found, score = "zh", 1.0
        else:
            found, score = identify(result.text, max_chars=config.max_chars)
        sure = score >= config.foreign_score
        differs = language_group(found) != language_group(declared)
        if (sure and differs) or (declared == "und" and score >= _GUESS):
            result.lang = found
        if result.lang != declared:
            result.changes["language"] = 1
        unwanted = language_group(result.lang) not in config.keep
        if filtered and unwanted and (sure or declared not in ("und", found)):
            result.reason = "language"

    def _rules(
        self,
        results: list[CleanResult],
        buf: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        counts: dict[str, NDArray[np.int64]],
        categories: Sequence[str],
        sources: Sequence[str],
    ) -> None:
        groups = np.array([language_group(r.lang) for r in results])
        zh = groups == "zh"
        columns = (np.array(list(categories)), groups, np.array(list(sources)))
        stats = derive(counts, np.diff(offsets), zh)
        blocks = self.config.blocks
        _, cheap = judge(blocks, stats, *columns)
        dropped = np.array([bool(r.reason) for r in results])
        for fails in cheap.values():
            dropped |= fails
        wanted = wants_repetition(blocks, *columns) & ~dropped
        if wanted.any():
            stats |= repetition(buf, offsets, wanted, zh)
        reasons, hits = judge(blocks, stats, *columns)
        solid = counts["chars"] - counts["spaces"]
        for i, result in enumerate(results):
            result.failed = tuple(reason for reason, fails in hits.items() if fails[i])
            result.reason = "empty" if solid[i] == 0 else result.reason or reasons[i]

    def _rewrite(self, result: CleanResult, category: str, hints: Hints) -> None:
        config = self.config
        zh = language_group(result.lang) == "zh"
        if config.simplify.enabled and zh and category in config.simplify.categories:
            simple = simplify(result.text, config.simplify.scheme)
            if simple != result.text:
                result.text = simple
                result.changes["simplify"] = 1
            result.lang = "zh-Hans"
        if category in config.words.categories:
            self._sensitive(result)
            if result.reason:
                return
        kinds = config.pii.of(category)
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
