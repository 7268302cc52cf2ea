"""Long-CoT-Backward: from a document back to the question that it is a long answer to.

Four kinds of request for each document, as CCI4.0 describes them (section 3.5) and never published:
segment (only start and end markers, resolved to spans here, so that the model need not repeat the
text), summarise each span into one thought, order the thoughts into a chain, and ask the one core
question. The row keeps {query, steps, conclusion} and points at its document.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate
from typing import Annotated

from pydantic import BaseModel, Field

from openseek.config.synthesis import RecipeConfig
from openseek.synthesis.recipes.wording import Texts
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.teacher import Asker, Message, Prompt, RowFailure

NAME = "long_cot_backward"
VERSION = 1
GIVES = "documents"

_Text = Annotated[str, Field(min_length=1)]


class Marker(BaseModel):
    """The first and last words of a segment, copied from the document."""

    start: str
    end: str


class Segments(BaseModel):
    """Answer to `segment`."""

    segments: list[Marker]


class Thought(BaseModel):
    """Answer to `summarise`."""

    thought: _Text


class Chain(BaseModel):
    """Answer to `chain`."""

    steps: Texts
    conclusion: _Text


class Query(BaseModel):
    """Answer to `query`."""

    query: _Text


_SYSTEM = {
    "en": "You turn documents into careful reasoning. You answer with one JSON object and nothing "
    "else.",
    "zh": "你把文档改写成严谨的推理。你只输出一个 JSON 对象，不输出其他内容。",
}
_SEGMENT = {
    "en": """Divide the document below into {low} to {high} consecutive segments, each about one \
idea. Do not repeat the segments: for each one copy only its first five to ten words and its last \
five to ten words, exactly as they stand.

Shape: {{"segments": [{{"start": "...", "end": "..."}}]}}

Document:
<<<
{document}
>>>""",
    "zh": """把下面的文档按内容划分为 {low} 到 {high} 个相连的段落，每段围绕一个意思。不要复述\
段落，只需逐字抄录每段开头的十来个字和结尾的十来个字。

格式：{{"segments": [{{"start": "...", "end": "..."}}]}}

文档：
<<<
{document}
>>>""",
}
_SUMMARISE = {
    "en": """State the one thought that this passage adds to an argument, in one to three \
sentences and in your own words. Keep numbers, formulas and names. Do not mention that there is \
a passage.

Shape: {{"thought": "..."}}

Passage:
<<<
{segment}
>>>""",
    "zh": """用自己的话，以一到三句概括下面这段文字为论证增加的一个想法。保留数字、公式和名称，\
不要提到“这段文字”。

格式：{{"thought": "..."}}

文字：
<<<
{segment}
>>>""",
}
_CHAIN = {
    "en": """Here are thoughts in the order in which they were noted:

{thoughts}

Work them into one chain of reasoning: each step follows from the ones before it, gaps are \
bridged, nothing is said twice, every thought is used. Then state the conclusion the chain leads \
to in one to three sentences.

Shape: {{"steps": ["...", "..."], "conclusion": "..."}}""",
    "zh": """下面是按记录顺序排列的若干想法：

{thoughts}

请把它们整理成一条推理链：每一步都承接前面的步骤，补上缺口，不重复，用到全部想法。最后用一到三句写出\
这条推理链得出的结论。

格式：{{"steps": ["...", "..."], "conclusion": "..."}}""",
}
_QUERY = {
    "en": """Here is a chain of reasoning and its conclusion:

{chain}

Write the one core question that someone would have to ask to be given exactly this reasoning. It \
must make sense alone, name its subject in full, and neither contain the conclusion nor refer to \
any text.

Shape: {{"query": "..."}}""",
    "zh": """下面是一条推理链及其结论：

{chain}

请写出能够引出这段推理的唯一核心问题。问题要能独立理解，写出完整的对象名称，不得包含结论，也不得提及任何文本。

格式：{{"query": "..."}}""",
}


def _prompt(
    step: str, lang: str, words: dict[str, str], schema: type[BaseModel], **inputs: object
) -> Prompt:
    messages: tuple[Message, ...] = (
        {"role": "system", "content": _SYSTEM[lang]},
        {"role": "user", "content": words[lang].format(**inputs)},
    )
    return Prompt(f"{NAME}/{step}", lang, dict(inputs), messages, schema)


async def run(document: SourceDocument, asker: Asker, config: RecipeConfig) -> list[Row]:
    """Segment, summarise, chain, ask.

    Raises:
        RowFailure: An answer has no valid shape, or fewer than two markers can be found again.
    """
    lang, high = document.lang, config.max_items
    ask = _prompt(
        "segment", lang, _SEGMENT, Segments, document=document.text, low=min(3, high), high=high
    )
    marked = await asker.ask(replace(ask, items=(min(3, high), high)), Segments)
    spans = resolve(document.text, marked.segments)[:high]
    found = len(spans)
    if found < 2 and config.cut_without_markers:
        spans = even_spans(document.text, min(3, high))
    if len(spans) < 2:
        raise RowFailure("markers", "fewer than two segment markers occur in the document")
    asked = (_summarise(document.text[a:b], lang, asker) for a, b in spans)
    thoughts = [thought for thought in await asyncio.gather(*asked) if thought]
    if len(thoughts) < 2:
        raise RowFailure("thoughts", "fewer than two segments could be summarised")
    noted = "\n".join(f"{i}. {t}" for i, t in enumerate(thoughts, start=1))
    ask = _prompt("chain", lang, _CHAIN, Chain, thoughts=noted)
    steps = (min(3, len(thoughts)), 2 * len(thoughts))  # room for what bridges the gaps
    chain = await asker.ask(replace(ask, items=steps), Chain)
    row = Row("", chain.conclusion.strip(), tuple(s.strip() for s in chain.steps))
    told = f"{row.reasoning}\n\n{row.answer}"
    query = await asker.ask(_prompt("query", lang, _QUERY, Query, chain=told), Query)
    extra: dict[str, object] = {
        "spans": [list(span) for span in spans], "segments_asked": len(marked.segments)
    }  # fmt: skip
    if found < 2:
        extra["cut_by"] = "rule"
    return [Row(query.query.strip(), row.answer, row.steps, extra, kind="cot")]


def even_spans(text: str, count: int) -> list[tuple[int, int]]:
    """Cut a text at sentence ends into up to `count` spans of about equal length."""
    ends = [m.end() for m in re.finditer(r"[.!?](?=\s)|[。！？]|\n\n|\Z", text)]
    spans, start = list[tuple[int, int]](), 0
    for end in ends:
        if end >= len(text) * (len(spans) + 1) / count and text[start:end].strip():
            spans.append((start, end))
            start = end
    return spans


async def _summarise(segment: str, lang: str, asker: Asker) -> str:
    """Summarise one segment; a chain can do without the odd one that fails."""
    prompt = _prompt("summarise", lang, _SUMMARISE, Thought, segment=segment)
    try:
        return (await asker.ask(prompt, Thought)).thought.strip()
    except RowFailure:
        return ""


def resolve(text: str, markers: list[Marker]) -> list[tuple[int, int]]:
    """Find the spans that start and end markers point at, in order and without overlap.

    White space may differ; a marker that does not occur after the last span is left out.

    Returns:
        (start, end) character offsets.
    """
    runs = list(re.finditer(r"\S+", text))
    squeezed = "".join(run.group() for run in runs)
    upto = list(accumulate(len(run.group()) for run in runs))

    def place(i: int) -> int:
        at = bisect_right(upto, i)
        return runs[at].end() - (upto[at] - i)

    spans, at = [], 0
    for marker in markers:
        first, last = "".join(marker.start.split()), "".join(marker.end.split())
        start = squeezed.find(first, at) if first and last else -1
        end = squeezed.find(last, start) if start >= 0 else -1
        if end >= 0:
            at = end + len(last)
            spans.append((place(start), place(at - 1) + 1))
    return spans
