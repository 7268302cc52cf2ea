"""A language model grades a sample of rows: what the cascade lets through, and what it drops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from openseek.config.verification import JudgeCheck
from openseek.synthesis.rows import Row, SourceDocument, render
from openseek.synthesis.teacher import Asker, Prompt, RowFailure, Teacher

NAME, VERSION = "verification/judge", 1

_SYSTEM = {
    "en": "You grade training material for language models, strictly and briefly. You answer with "
    "one JSON object and nothing else.",
    "zh": "你负责为语言模型的训练材料评分，严格而简短。你只输出一个 JSON 对象，不输出其他内容。",
}
_USER = {
    "en": """Below are a source document and a record that was written from it. The record's \
reader has not got the document.

Grade the record from 1 to 5:
1: wrong, empty or beside the point. 2: a serious error, or not understandable without the document.
3: right, with flaws that do not mislead. 4: right and clear. 5: right, clear and worth learning.
A statement that the document contradicts, a step that does not follow, or an answer to another \
question than the one asked makes at most 2. Check calculations yourself. Length earns nothing.

Shape: {{"reason": "one short sentence", "grade": 1}}

Document:
<<<
{document}
>>>

Record:
<<<
{record}
>>>""",
    "zh": """下面是一篇原始文档，以及根据它写成的一条记录。记录的读者看不到文档。

请为记录评 1 到 5 分：
1：错误、空洞或答非所问。2：有严重错误，或离开文档就无法理解。
3：正确，有瑕疵但不误导。4：正确且清楚。5：正确、清楚，值得学习。
与文档矛盾的说法、推不出来的步骤、所答非所问，最多 2 分。计算要自己验算。篇幅长不加分。

格式：{{"reason": "一句简短的话", "grade": 1}}

文档：
<<<
{document}
>>>

记录：
<<<
{record}
>>>""",
}


class Grade(BaseModel):
    """The answer's shape."""

    reason: str = ""
    grade: int = Field(ge=1, le=5)


@dataclass(frozen=True)
class Judged:
    """A row's grade.

    Attributes:
        grade: 1 to 5; 0: the judge gave none.
        said: Its reason, or why it gave none.
    """

    grade: int
    said: str


def prompt(document: SourceDocument, row: Row, config: JudgeCheck) -> Prompt:
    """Word the request for one row."""
    lang = document.lang
    inputs = {
        "document": document.text[: config.read_chars],
        "record": render(row, lang)[: config.read_chars],
    }
    messages = (
        {"role": "system", "content": _SYSTEM[lang]},
        {"role": "user", "content": _USER[lang].format(**inputs)},
    )
    return Prompt(NAME, lang, dict(inputs), messages, Grade)


async def judge(
    rows: Sequence[tuple[SourceDocument, Row]], config: JudgeCheck, teacher: Teacher
) -> tuple[list[Judged], dict[str, int]]:
    """Grade rows.

    Returns:
        Their grades, in their order, and what it took: requests, repairs and tokens.

    Raises:
        TransientError: The endpoint did not answer in all tries.
    """
    usage: Counter[str] = Counter()

    async def one(document: SourceDocument, row: Row) -> Judged:
        asker = Asker(teacher)
        try:
            answer = await asker.ask(prompt(document, row, config), Grade)
            found = Judged(answer.grade, answer.reason[:300])
        except RowFailure as failure:
            found = Judged(0, failure.reason)
        usage.update({k: v for k, v in vars(asker.ledger).items() if isinstance(v, int)})
        return found

    tasks = [asyncio.ensure_future(one(document, row)) for document, row in rows]
    try:
        return list(await asyncio.gather(*tasks)), dict(sorted(usage.items()))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def agreement(verdicts: Iterable[tuple[str, int]], min_grade: int) -> dict[str, object]:
    """Compare the cascade with the judge.

    Args:
        verdicts: For each graded row the reason for which the other checks rejected it (empty: they
            kept it), and its grade.
        min_grade: Lowest grade of a good row.

    Returns:
        `judged`, `failed` (no grade), `grades` (grade -> rows) and the four cells `kept_good`,
        `kept_bad`, `rejected_good`, `rejected_bad`; `precision` (good among the kept),
        `agreement` (share of rows on which both agree) and Cohen's `kappa`; None where there is
        nothing to divide by; `by_reason`: reason -> [rejected rows, good ones among them].
    """
    grades: Counter[str] = Counter()
    cells: Counter[tuple[bool, bool]] = Counter()
    reasons: dict[str, list[int]] = {}
    for reason, grade in verdicts:
        grades[str(grade)] += 1
        if not grade:
            continue
        fine = grade >= min_grade
        cells[not reason, fine] += 1
        if reason:
            counts = reasons.setdefault(reason, [0, 0])
            counts[0], counts[1] = counts[0] + 1, counts[1] + fine
    n = sum(cells.values())
    kept_good, kept_bad = cells[True, True], cells[True, False]
    rejected_good, rejected_bad = cells[False, True], cells[False, False]
    kept, good = kept_good + kept_bad, kept_good + rejected_good
    same = (kept_good + rejected_bad) / max(1, n)
    chance = (kept * good + (n - kept) * (n - good)) / max(1, n) ** 2
    return {
        "judged": n, "failed": grades.pop("0", 0), "grades": dict(sorted(grades.items())),
        "kept_good": kept_good, "kept_bad": kept_bad, "rejected_good": rejected_good,
        "rejected_bad": rejected_bad, "precision": _ratio(kept_good, kept),
        "agreement": _ratio(kept_good + rejected_bad, n),
        "kappa": _ratio(same - chance, 1 - chance) if n else None,
        "by_reason": dict(sorted(reasons.items())),
    }  # fmt: skip


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
