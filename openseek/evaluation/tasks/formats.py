"""Formats and rows that several benchmarks share."""

from __future__ import annotations

import string
from collections.abc import Callable

from openseek.errors import DataError
from openseek.evaluation.tasks.benchmark import Item, Prompt, Row

LETTERS = string.ascii_uppercase


def spaced(item: Item) -> list[str]:
    """Return the options' full texts, each after a space: the cloze format."""
    return [f" {choice}" for choice in item.choices]


def plain(item: Item) -> Prompt:
    """Put the question as it is, then the option."""
    return item.query, spaced(item)


def question(item: Item) -> Prompt:
    """Put the question as `Question: ... Answer:`, then the option."""
    return f"Question: {item.query}\nAnswer:", spaced(item)


def generated(item: Item) -> Prompt:
    """Put the question as `Question: ... Answer:` and let the model go on."""
    return f"Question: {item.query}\nAnswer:", []


def topic(item: Item) -> str:
    """Return the item's subject as words."""
    return item.meta["subject"].replace("_", " ")


def cloze_about(item: Item) -> Prompt:
    """Name the subject, put the question, then the option's text; the options are not shown."""
    head = f"The following are questions about {topic(item)}.\n"
    return f"{head}Question: {item.query}\nAnswer:", spaced(item)


def lettered_about(space: str) -> Callable[[Item], Prompt]:
    """Name the subject, show the options with letters, and score the letters.

    Args:
        space: What stands before a letter that is scored: OpenSeek's MMLU has a space there, its
            MMLU-Pro none.
    """

    def render(item: Item) -> Prompt:
        letters = LETTERS[: len(item.choices)]
        shown = "".join(f"{x}. {c}\n" for x, c in zip(letters, item.choices, strict=True))
        head = f"The following are multiple choice questions (with answers) about {topic(item)}."
        return f"{head}\n\n{item.query}\n{shown}Answer:", [f"{space}{x}" for x in letters]

    return render


def joined(row: Row, *columns: str, by: str) -> str:
    """Join texts of a row.

    Raises:
        DataError: A value is no text, or empty.
    """
    for column in columns:
        if not isinstance(row[column], str) or not row[column].strip():
            raise DataError(f"column {column!r} holds no text but {row[column]!r}")
    return by.join(row[column] for column in columns)


def keyed(column: str) -> Callable[[Row], Item]:
    """Read rows of {column}, choices {text, label} and answerKey, as ARC has them."""

    def item(row: Row) -> Item:
        labels = [str(x) for x in row["choices"]["label"]]
        key = str(row["answerKey"]).strip()
        if key not in labels:
            raise DataError(f"answerKey {key!r} is none of the labels {labels}")
        return Item(row[column], tuple(row["choices"]["text"]), labels.index(key))

    return item


def answer_index(answer: object) -> int:
    """Read an answer that is given as an index or as a letter."""
    if isinstance(answer, str) and answer.strip() in LETTERS[:10]:
        return LETTERS.index(answer.strip())
    return int(str(answer))


def subject_item(row: Row) -> Item:
    """Read rows of question, subject, choices and answer, as MMLU has them."""
    gold = answer_index(row["answer"])
    return Item(row["question"], tuple(row["choices"]), gold, {"subject": row["subject"]})
