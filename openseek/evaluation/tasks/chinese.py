"""CMMLU and C-Eval: examinations in Chinese (arXiv:2306.09212 and arXiv:2305.08322).

The options are not shown; their full texts are scored, each after a space, as in English.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Benchmark, Item, Prompt, Row
from openseek.evaluation.tasks.formats import answer_index, spaced, subject_item


@functools.cache
def subjects(name: str) -> dict[str, str]:
    """Return the subjects of cmmlu (67) or ceval (52): English name -> Chinese name."""
    import yaml

    text = resources.files("openseek.evaluation.tasks").joinpath("subjects.yaml").read_text("utf-8")
    names: dict[str, dict[str, str]] = yaml.safe_load(text)
    return names[name]


def _item(row: Row, names: Mapping[str, str]) -> Item:
    subject = row["subject"]
    if subject not in names:
        raise DataError(
            f"unknown subject {subject!r}",
            mend=f"Choose from {', '.join(sorted(names)[:3])}, ... ({len(names)} in all).",
        )
    if "choices" in row:  # the re-upload that OpenSeek reads
        return subject_item(row)
    query = row["question"] if "question" in row else row["Question"]
    answer = row["answer"] if "answer" in row else row["Answer"]
    choices = tuple(row[letter] for letter in "ABCD")
    return Item(query, choices, answer_index(answer), {"subject": subject})


def _cmmlu_item(row: Row) -> Item:
    return _item(row, subjects("cmmlu"))


def _ceval_item(row: Row) -> Item:
    return _item(row, subjects("ceval"))


def _cmmlu(item: Item) -> Prompt:
    topic = subjects("cmmlu")[item.meta["subject"]]
    head = f"以下是关于{topic}的单项选择题，请直接给出正确答案的选项。\n"
    return f"{head}题目：{item.query}\n答案是：", spaced(item)


def _ceval(item: Item) -> Prompt:
    topic = subjects("ceval")[item.meta["subject"]]
    head = f"以下是中国关于{topic}考试的单项选择题，请选出其中的正确答案。\n"
    return f"{head}题目：{item.query}\n答案：", spaced(item)


CMMLU = Benchmark(
    name="cmmlu",
    wheel="",
    hub=("ldwang/lighteval-cmmlu", "*", "test"),
    licence="CC-BY-NC-SA-4.0",
    item=_cmmlu_item,
    format=_cmmlu,
    group="subject",
    languages=("zh",),
)

CEVAL = Benchmark(
    name="ceval",
    wheel="",
    hub=("ldwang/lighteval-ceval-exam", "*", "val"),
    licence="CC-BY-NC-SA-4.0",
    item=_ceval_item,
    format=_ceval,
    group="subject",
    languages=("zh",),
)
