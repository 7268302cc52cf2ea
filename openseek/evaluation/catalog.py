"""The benchmarks as data: where a row comes from, what it asks, how it is put to the model.

A benchmark's row, in the columns of the hub's set, becomes an `Item` (question and options as
plain text). `prompt` turns an item into what the model sees, in the cloze format of OpenSeek's
evaluation: the full text of an option, with a leading space, is scored after the question.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from openseek.errors import DataError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One question with its options.

    Attributes:
        query: The question's text, without any template.
        choices: The options' texts.
        gold: Index of the right one.
        meta: What else the prompt needs; JSON.
    """

    query: str
    choices: tuple[str, ...]
    gold: int
    meta: dict[str, str] = field(default_factory=dict)

    def id(self, task: str) -> str:
        """Derive a stable id from the content."""
        text = json.dumps([task, self.query, *self.choices, self.meta], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


Prompt = tuple[str, list[str]]
"""What the model sees: context and continuations."""


@dataclass(frozen=True)
class Benchmark:
    """One task.

    Attributes:
        name: Name of the task here.
        wheel: Folder of the set in the default wheel, with `*` for its subsets.
        hub: Data set id, subset and split on the hub.
        licence: Licence of the data.
        item: Row in the hub's columns -> item.
        prompt: Item -> context and continuations.
        metric: The one that counts: acc_norm (per character, first space left out) or acc.
        group: Key of `meta` whose groups are averaged, when all items are scored.
    """

    name: str
    wheel: str
    hub: tuple[str, str | None, str]
    licence: str
    item: Callable[[Row], Item]
    prompt: Callable[[Item], Prompt]
    metric: str = "acc_norm"
    group: str = ""


def _spaced(item: Item) -> list[str]:
    return [f" {choice}" for choice in item.choices]


def _plain(item: Item) -> Prompt:
    return item.query, _spaced(item)


def _question(item: Item) -> Prompt:
    return f"Question: {item.query}\nAnswer:", _spaced(item)


def _hellaswag_item(row: Row) -> Item:
    if str(row["label"]) == "":
        raise DataError("label is empty", mend="Use the validation split; test has no labels.")
    meta = {"activity": row["activity_label"], "start": row["ctx_a"], "lead": row["ctx_b"]}
    return Item(row["ctx"], tuple(row["endings"]), int(row["label"]), meta)


def _hellaswag_clean(text: str) -> str:
    # WikiHow leaves marks such as [title] and [step] in the text.
    return re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).replace("  ", " ")


def _hellaswag_prompt(item: Item) -> Prompt:
    # OpenSeek's format ends in a space, which scoring moves into the continuation: two spaces.
    meta = item.meta
    context = f"{meta['activity']}: {meta['start']} {meta['lead'].capitalize()} "
    return _hellaswag_clean(context), [f" {_hellaswag_clean(c)}" for c in item.choices]


def _winogrande_item(row: Row) -> Item:
    return Item(row["sentence"], (row["option1"], row["option2"]), int(row["answer"]) - 1)


def _winogrande_prompt(item: Item) -> Prompt:
    context, _, rest = item.query.partition("_")
    return context, [f"{choice}{rest}" for choice in item.choices]


def _piqa_item(row: Row) -> Item:
    return Item(row["goal"], (row["sol1"], row["sol2"]), int(row["label"]))


def _siqa_item(row: Row) -> Item:
    choices = (row["answerA"], row["answerB"], row["answerC"])
    return Item(f"{row['context']} {row['question']}", choices, int(row["label"]) - 1)


def _lettered(question: str) -> Callable[[Row], Item]:
    def item(row: Row) -> Item:
        labels = list(row["choices"]["label"])
        gold = labels.index(str(row["answerKey"]).strip())
        return Item(row[question], tuple(row["choices"]["text"]), gold)

    return item


def _boolq_item(row: Row) -> Item:
    return Item(f"{row['passage']}\n{row['question']}", ("No", "Yes"), int(bool(row["answer"])))


def _boolq_prompt(item: Item) -> Prompt:
    passage, _, question = item.query.rpartition("\n")
    return f"{passage}\nQuestion: {question}?\nAnswer:", _spaced(item)


def _mmlu_item(row: Row) -> Item:
    gold = row["answer"]
    gold = "ABCD".index(gold) if isinstance(gold, str) else int(gold)
    return Item(row["question"], tuple(row["choices"]), gold, {"subject": row["subject"]})


def _mmlu_prompt(item: Item) -> Prompt:
    topic = item.meta["subject"].replace("_", " ")
    head = f"The following are questions about {topic}.\n"
    return f"{head}Question: {item.query}\nAnswer:", _spaced(item)


def _chinese_item(row: Row) -> Item:
    if "choices" in row:  # the re-upload that OpenSeek reads
        return _mmlu_item(row)
    question = row["question"] if "question" in row else row["Question"]
    gold = row["answer"] if "answer" in row else row["Answer"]
    choices = tuple(row[letter] for letter in "ABCD")
    meta = {"subject": str(row.get("subject", ""))}
    return Item(question, choices, "ABCD".index(gold), meta)


def _chinese_prompt(item: Item) -> Prompt:
    topic = item.meta["subject"].replace("_", " ")
    head = f"以下是关于{topic}的单项选择题。\n"
    return f"{head}题目：{item.query}\n答案：", _spaced(item)


_ROWS = (
    Benchmark(
        "hellaswag",
        "hellaswag/none/validation",
        ("Rowan/hellaswag", None, "validation"),
        "MIT",
        _hellaswag_item,
        _hellaswag_prompt,
    ),
    Benchmark(
        "piqa",
        "piqa/plain_text/validation",
        ("ybisk/piqa", "plain_text", "validation"),
        "AFL-3.0",
        _piqa_item,
        _plain,
    ),
    Benchmark(
        "arc_easy",
        "ai2_arc/ARC-Easy/validation",
        ("allenai/ai2_arc", "ARC-Easy", "test"),
        "CC-BY-SA-4.0",
        _lettered("question"),
        _question,
    ),
    Benchmark(
        "arc_challenge",
        "ai2_arc/ARC-Challenge/validation",
        ("allenai/ai2_arc", "ARC-Challenge", "test"),
        "CC-BY-SA-4.0",
        _lettered("question"),
        _question,
    ),
    Benchmark(
        "winogrande",
        "winogrande/winogrande_xl/validation",
        ("allenai/winogrande", "winogrande_xl", "validation"),
        "CC-BY-4.0",
        _winogrande_item,
        _winogrande_prompt,
    ),
    # Normalising " No" and " Yes" by length would only measure that they differ in length.
    Benchmark(
        "boolq",
        "boolq/none/validation",
        ("google/boolq", None, "validation"),
        "CC-BY-SA-3.0",
        _boolq_item,
        _boolq_prompt,
        metric="acc",
    ),
    Benchmark(
        "openbookqa",
        "openbookqa/main/validation",
        ("allenai/openbookqa", "main", "validation"),
        "Apache-2.0",
        _lettered("question_stem"),
        _plain,
    ),
    Benchmark(
        "commonsenseqa",
        "tau/commonsense_qa/none/validation",
        ("tau/commonsense_qa", None, "validation"),
        "MIT",
        _lettered("question"),
        _plain,
        metric="acc",
    ),
    Benchmark(
        "siqa",
        "social_i_qa/none/validation",
        ("allenai/social_i_qa", None, "validation"),
        "CC-BY-4.0",
        _siqa_item,
        _plain,
    ),
    Benchmark(
        "mmlu",
        "hails/mmlu_no_train/*/test",
        ("cais/mmlu", "all", "test"),
        "MIT",
        _mmlu_item,
        _mmlu_prompt,
        group="subject",
    ),
    Benchmark(
        "ceval",
        "",
        ("ldwang/lighteval-ceval-exam", None, "val"),
        "CC-BY-NC-SA-4.0",
        _chinese_item,
        _chinese_prompt,
        group="subject",
    ),
    Benchmark(
        "cmmlu",
        "",
        ("ldwang/lighteval-cmmlu", None, "test"),
        "CC-BY-NC-SA-4.0",
        _chinese_item,
        _chinese_prompt,
        group="subject",
    ),
)

BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in _ROWS}
"""All benchmarks by name."""


def to_item(benchmark: Benchmark, row: Row, where: str) -> Item:
    """Turn a row in the hub's columns into an item.

    Raises:
        DataError: A column is missing or a value makes no sense; the message names task and row.
    """
    where = f"task {benchmark.name}, {where}"
    try:
        item = benchmark.item(row)
    except KeyError as error:
        raise DataError(
            f"no column {error.args[0]!r}, found {sorted(row)}",
            where=where,
            mend=f"Use the columns of the hub's set {benchmark.hub[0]}.",
        ) from error
    except (ValueError, TypeError, DataError) as error:
        raise DataError(f"not a usable row: {error}", where=where) from error
    if not 0 <= item.gold < len(item.choices) or not all(item.choices) or not item.query:
        raise DataError(
            f"question and options must not be empty, the answer must be one of them "
            f"(gold={item.gold}, choices={list(item.choices)})",
            where=where,
        )
    return item
