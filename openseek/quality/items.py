"""Evaluation items from files of any usual shape, as the text that a training document might hold.

Parquet, JSONL (plain, .gz, .zst) and JSON lists, in the columns of this project's sets or in those
that the sets are published with: the question is the first of `QUESTIONS` that a row has, the
answer is written out where the row only points at a choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from openseek.artifacts.files import FileSet, names
from openseek.corpus.readers.jsonl import iter_lines
from openseek.corpus.streams import chunks, plain_name
from openseek.errors import DataError

QUESTIONS = (
    "query", "question", "problem", "question_stem", "ctx", "goal", "sentence", "prompt",
    "instruction", "input", "Question", "Problem",
)  # fmt: skip
CHOICES = ("choices", "options", "endings")
OTHERS = (
    ("A", "B", "C", "D", "E"), ("sol1", "sol2"), ("option1", "option2"),
    ("answerA", "answerB", "answerC"),
)  # fmt: skip
ANSWERS = ("gold", "answer", "answerKey", "label", "solution", "output", "target", "Answer")
_LEAST_WORD = 2  # characters from which a string answer is text and not the name of a choice
_NAMES = ("task", "id", "subject", "split", "source", "answer_letter")
_ITEM_BYTES = 64_000_000


@dataclass(frozen=True)
class Item:
    """One evaluation item.

    Attributes:
        task: Benchmark it belongs to.
        id: Id within the task.
        text: Question with its correct answer, as a training document might hold it.
        question: The question alone; a short one is looked for whole, without its answer.
    """

    task: str
    id: str
    text: str
    question: str = ""


def compose_item(row: Mapping[str, Any]) -> str:
    """Compose an item's text: the question and the right answer, else every string there is."""
    question, answer = question_of(row), _answer_of(row)
    if question:
        return f"{question} {answer}" if answer else question
    if isinstance(row.get("text"), str):
        return str(row["text"])
    return " ".join(v for k, v in sorted(row.items()) if isinstance(v, str) and k not in _NAMES)


def question_of(row: Mapping[str, Any]) -> str:
    """Return a row's question, an empty string where it has none under a known name."""
    for key in QUESTIONS:
        value = row.get(key)
        if isinstance(value, dict):  # {"stem": …, "choices": […]}, as ARC and CommonsenseQA ship
            value = value.get("stem")
        if isinstance(value, str) and value.strip():
            return value
    return ""


def _answer_of(row: Mapping[str, Any]) -> str:
    choices = _choices_of(row)
    for key in ANSWERS:
        value = row.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):  # TriviaQA
            value = value.get("value")
        at = _index(value, choices)
        if at is not None:
            return choices[at][1]
        if isinstance(value, str) and len(value.strip()) >= _LEAST_WORD:
            return value
    return ""


def _choices_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List a row's choices as (name, text)."""
    question = row.get("question")
    nested = question.get("choices") if isinstance(question, dict) else None
    for value in (*(row.get(k) for k in CHOICES), nested):
        if isinstance(value, dict) and isinstance(value.get("text"), list):
            labels = value.get("label") or [""] * len(value["text"])
            return [(str(a), str(b)) for a, b in zip(labels, value["text"], strict=False)]
        if isinstance(value, list) and value:
            if isinstance(value[0], dict):
                return [(str(c.get("label", "")), str(c.get("text", ""))) for c in value]
            return [(chr(65 + i), str(c)) for i, c in enumerate(value)]
    for group in OTHERS:
        if all(isinstance(row.get(k), str) for k in group[:2]):
            return [(k[-1:], row[k]) for k in group if isinstance(row.get(k), str)]
    return []


def _index(value: Any, choices: list[tuple[str, str]]) -> int | None:
    """Find the choice that an answer points at: by its name, else by its number."""
    if not choices or isinstance(value, bool) or value is None:
        return None
    labels = [label for label, _ in choices]
    if isinstance(value, str) and value.strip() in labels:
        return labels.index(value.strip())
    if isinstance(value, str) and not value.strip().isdecimal():
        return None
    if isinstance(value, str | int):
        at = int(value)
        return at if 0 <= at < len(choices) else None
    return None


def load_items(benchmarks: FileSet) -> tuple[list[Item], dict[str, int]]:
    """Read all evaluation items of a folder or artifact, and count them by task.

    A row without `task` belongs to the task that its file is named after.

    Raises:
        DataError: There is no file of items, or a row has no text to compose an item from.
    """
    items: list[Item] = []
    counts: dict[str, int] = {}
    files = [r.name for r in benchmarks.records() if _kind(r.name)]
    if not files and names(benchmarks):
        raise DataError(
            f"no evaluation items among {len(names(benchmarks))} files", where="benchmarks",
            mend="Give .parquet, .jsonl (.gz, .zst) or .json files.",
        )  # fmt: skip
    for name in files:
        stem = Path(plain_name(name)).stem
        for number, row in enumerate(_rows(benchmarks.local(name), name)):
            if not isinstance(row, dict):
                raise DataError(
                    f"not readable as evaluation items: row {number} is no JSON object", where=name,
                    mend="One JSON object a line.",
                )  # fmt: skip
            task, given = str(row.get("task") or stem), row.get("id")
            item = Item(
                task, str(number if given is None else given), compose_item(row), question_of(row)
            )
            if not item.text.strip():
                raise DataError(
                    f"item {item.id} has no text; its columns are {', '.join(sorted(row))}",
                    where=name,
                    mend="A benchmark needs `query` (with `choices` and `gold`), `question` (with "
                    "`answer`) or `text`.",
                )
            items.append(item)
            counts[task] = counts.get(task, 0) + 1
    return items, dict(sorted(counts.items()))


def _kind(name: str) -> str:
    suffix = Path(plain_name(name)).suffix
    return suffix if suffix in (".parquet", ".jsonl", ".json") else ""


def _rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    kind = _kind(name)
    try:
        if kind == ".parquet":
            yield from pq.read_table(path).to_pylist()
            return
        with path.open("rb") as stream:
            if kind == ".json":
                found = json.loads(b"".join(chunks(stream, name)))
                yield from found if isinstance(found, list) else [found]
                return
            for line in iter_lines(chunks(stream, name), _ITEM_BYTES):
                if line.data.strip():
                    yield json.loads(line.data)
    except (ValueError, AttributeError, OSError) as error:
        raise DataError(
            f"not readable as evaluation items: {error}", where=name,
            mend="One JSON object a line (.jsonl), a list of them (.json), or parquet.",
        ) from error  # fmt: skip
