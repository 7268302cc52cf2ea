"""A teacher that works by rule: every answer is copied from the document, none is invented.

It makes the offline demo run through the same recipes as a language model, and it is labelled as
`extractive` in every row. What it makes is narrow: questions that fixed patterns read off sentences
(`extractive_rules`), functions for their docstrings, and chains of the most central sentences.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from openseek.synthesis.extractive_rules import code_pairs, is_prose, sentence_pairs, sentences
from openseek.synthesis.teacher import Message, Prompt, Reply, RowFailure

_STOP_WORDS = (
    "the a an of and to in is that for it as with on be by this are or at from which but not have "
    "has was were can will if when then than there their its we you they he she his her these "
    "those such may would should could also into about between because so all more one some any "
    "no do does use used using must only other each first two new same see like just been where "
    "what how your our most many very i e g following example both either however note"
)
_STOP = frozenset(_STOP_WORDS.split())
_STOP_CJK = frozenset(
    "的了是在和与也就都而及着或把被对从为不有这那其以之于将我你他她它们个等中上下到要会能可"
)
_CJK_RUN = re.compile(r"[\u3400-\u9fff]+")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{2,}")
_NUMBERED = re.compile(r"^\d+\. (.+)$", re.M)


class ExtractiveTeacher:
    """Answer every kind of prompt from its inputs, deterministically and offline."""

    name = "extractive"

    def __init__(self) -> None:
        self._rules: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "simple_qa/pairs": _pairs,
            "long_cot_backward/segment": _segment,
            "long_cot_backward/summarise": _summarise,
            "long_cot_backward/chain": _chain,
            "long_cot_backward/query": _query,
        }

    async def complete(self, prompt: Prompt, messages: tuple[Message, ...]) -> Reply:
        """Answer a prompt.

        Raises:
            RowFailure: The document holds nothing that the rules can use.
        """
        rule = self._rules.get(prompt.kind)
        if rule is None:
            raise RowFailure("unknown_prompt", f"there is no rule for {prompt.kind}")
        return Reply(json.dumps(rule(prompt.lang, prompt.inputs), ensure_ascii=False))

    def stop(self) -> None:
        """Do nothing: nothing is in flight."""

    async def close(self) -> None:
        """Do nothing: there is nothing open."""


def _pairs(lang: str, inputs: dict[str, Any]) -> dict[str, Any]:
    text, count = inputs["document"], int(inputs["count"])
    found = code_pairs(text) if inputs["code"] else sentence_pairs(text, lang)
    if not found:
        raise RowFailure("nothing_to_ask", "no sentence or function fits a pattern")
    # Spread over the document instead of taking its first ones.
    step = max(1.0, len(found) / count)
    chosen = [found[int(i * step)] for i in range(min(count, len(found)))]
    return {"pairs": [{"question": q, "answer": a} for q, a in chosen]}


def _segment(lang: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Cut at sentence ends into segments of about equal length."""
    parts = sentences(inputs["document"], lang)
    if len(parts) < inputs["low"]:
        raise RowFailure("too_few_sentences", "the document has too few sentences for a chain")
    total = sum(map(len, parts))
    n = max(int(inputs["low"]), min(int(inputs["high"]), len(parts), total // 500 + 2))
    segments: list[list[str]] = [[]]
    done = 0
    for i, part in enumerate(parts):
        room = len(parts) - i > n - len(segments)
        full = done >= total * len(segments) / n and len(segments) < n
        if segments[-1] and (full or not room):
            segments.append([])
        segments[-1].append(part)
        done += len(part)
    return {"segments": [{"start": s[0][:40], "end": s[-1][-40:]} for s in segments]}


def _summarise(lang: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {"thought": _central(sentences(inputs["segment"], lang), lang)}


def _chain(lang: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Keep the order of the document; say nothing twice; conclude with the most central one."""
    thoughts = list(dict.fromkeys(_NUMBERED.findall(inputs["thoughts"])))
    if len(thoughts) < 2:
        raise RowFailure("too_few_thoughts", "the segments have too few usable sentences")
    conclusion = _central(thoughts, lang)
    return {"steps": thoughts, "conclusion": conclusion}


def _query(lang: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Ask how the chain's most frequent terms hang together."""
    terms = key_terms(inputs["chain"], lang)
    if len(terms) < 2:
        raise RowFailure("no_terms", "the chain has no two terms that recur")
    if lang == "zh":
        return {"query": f"请说明“{terms[0]}”与“{'”“'.join(terms[1:3])}”的关系，要点是什么？"}
    rest = " and ".join(terms[1:3])
    return {"query": f"What should one know about {terms[0]}, and how does it relate to {rest}?"}


def _terms(text: str, lang: str) -> list[str]:
    if lang != "zh":
        return [w for w in _WORD.findall(text) if w.lower() not in _STOP]
    return [
        run[i : i + 2]
        for run in _CJK_RUN.findall(text)
        for i in range(len(run) - 1)
        if run[i] not in _STOP_CJK and run[i + 1] not in _STOP_CJK
    ]


def key_terms(text: str, lang: str, most: int = 3) -> list[str]:
    """List the terms that recur in a text, most frequent first, each with its usual spelling."""
    if lang == "zh":
        return _chinese_terms(text, most)
    spellings: dict[str, Counter[str]] = {}
    for word in _terms(text, lang):
        spellings.setdefault(word.lower(), Counter())[word] += 1
    counts = {low: sum(c.values()) for low, c in spellings.items()}
    ranked = sorted(counts, key=lambda w: (-counts[w] * min(len(w), 8), w))
    return [spellings[w].most_common(1)[0][0] for w in ranked[:most] if counts[w] > 1]


def _chinese_terms(text: str, most: int) -> list[str]:
    """Rank runs of two to four characters that recur; no two of them share a pair of characters."""
    counts: Counter[str] = Counter()
    for run in _CJK_RUN.findall(text):
        for n in range(2, 5):
            for i in range(len(run) - n + 1):
                if not _STOP_CJK.intersection(run[i : i + n]):
                    counts[run[i : i + n]] += 1
    ranked = sorted(
        (t for t, n in counts.items() if n > 1), key=lambda t: (-counts[t] * (len(t) - 1), t)
    )
    chosen: list[str] = []
    for term in ranked:
        pairs = {term[i : i + 2] for i in range(len(term) - 1)}
        if not any(pair in other for pair in pairs for other in chosen):
            chosen.append(term)
    return chosen[:most]


def _central(parts: list[str], lang: str) -> str:
    """Pick the sentence of prose whose terms are most frequent in all of them.

    Raises:
        RowFailure: There is no whole sentence of prose.
    """
    fair = [p for p in parts if is_prose(p, lang)]
    if not fair:
        raise RowFailure("no_prose", "a segment has no whole sentence of prose")
    counts = Counter(t.lower() for p in parts for t in _terms(p, lang))

    def weight(part: str) -> float:
        terms = {t.lower() for t in _terms(part, lang)}
        return sum(counts[t] for t in terms) / (len(terms) + 4)

    return max(fair, key=weight)
