"""Rephrase: a document rewritten in up to five forms, as Nemotron-CC names them.

diverse_qa          question-answer pairs of several kinds, alone or after the document
distill             the same content, shorter and clearer
extract_knowledge   what is worth knowing in it, as running text
knowledge_list      the same as an organised list
wiki                the content in the tone of an encyclopedia

Each form is one request for free text and one row of kind `text`.
"""

from __future__ import annotations

import asyncio
import random
import re

from openseek.config.recipes import RecipeConfig, RephraseKind
from openseek.synthesis.recipes.rephrase_prompts import SYSTEM, USER
from openseek.synthesis.recipes.wording import plain, prompt
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, RowFailure

NAME = "rephrase"
VERSION = 1
GIVES = "documents"

_LABEL = r"^[\s*#_>-]*(?:\d{1,2}[.)、])?[\s*_]*(?:%s)\s*\d*[\s*_]*[:：.][\s*_]*"
_ASKS, _ANSWERS = _LABEL % "question|q|问题?|提问", _LABEL % "answer|a|答案?|回答"
_PAIR = re.compile(
    rf"{_ASKS}(?P<q>.+?)\s*\n{_ANSWERS}(?P<a>.+?)(?={_ASKS}|\n\s*\n\s*\n|\Z)", re.I | re.M | re.S
)
_WORDS = {"en": ("Question: {}", "Answer: {}"), "zh": ("问题：{}", "答案：{}")}
_MIN_CHARS = 60
_NOTHING = re.compile(r"^(?:none|nothing|n/?a|无|没有)[.。]?$", re.I)


async def run(source: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Rewrite one document in each configured form; a form that fails leaves the others alone.

    Raises:
        RowFailure: No form came out; the first one's reason.
    """
    asked = (_rewrite(source, kind, asker, config) for kind in config.kinds)
    made = await asyncio.gather(*asked)
    rows = [row for row in made if isinstance(row, Row)]
    if not rows and made:
        raise next(m for m in made if isinstance(m, RowFailure))
    failed = {
        k: m.reason for k, m in zip(config.kinds, made, strict=True) if not isinstance(m, Row)
    }
    if failed:
        rows[0].extra["forms_failed"] = failed
    return rows


async def _rewrite(
    source: SourceDocument, kind: RephraseKind, asker: Asker, config: RecipeConfig
) -> Row | RowFailure:
    count = max(1, min(config.max_items, len(source.text) // config.chars_per_item))
    inputs: dict[str, object] = {"document": source.text}
    if kind == "diverse_qa":
        inputs["count"] = count
    ask = prompt(f"{NAME}/{kind}", source.lang, VERSION, SYSTEM, USER[kind], **inputs)
    try:
        text = plain(await asker.say(ask))
        if kind == "diverse_qa":
            return _pairs_row(source, text, count, config.with_document)
        if len(text) < _MIN_CHARS // (2 if source.lang == "zh" else 1) or _NOTHING.match(text):
            raise RowFailure("too_short", f"{kind}: nothing to speak of was written")
    except RowFailure as failure:
        return failure
    return Row(kind="text", text=text, extra={"form": kind})


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Read question-answer pairs from free text with the labels of either language."""
    pairs = [(m["q"].strip(" *_"), m["a"].strip()) for m in _PAIR.finditer(text)]
    return list(dict.fromkeys((q, a) for q, a in pairs if q and a))


def _pairs_row(source: SourceDocument, text: str, count: int, with_document: bool) -> Row:
    """Lay out the pairs in an order drawn by the document's id (Nemotron-CC shuffles them)."""
    pairs = read_pairs(text)
    if not pairs:
        raise RowFailure("no_pairs", "no question with its answer can be read")
    random.Random(f"{source.id}/{NAME}").shuffle(pairs)
    question, answer = _WORDS[source.lang]
    told = [f"{question.format(q)}\n{answer.format(a)}" for q, a in pairs[:count]]
    extra: dict[str, object] = {"form": "diverse_qa", "pairs": len(told)}
    before = [source.text] if with_document else []
    return Row(kind="text", text="\n\n".join([*before, *told]), extra=extra)
