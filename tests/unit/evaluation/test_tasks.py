"""Every benchmark: its prompt to the letter, and what it refuses."""

import dataclasses
import typing

import pytest

from openseek.config import evaluation as config
from openseek.errors import DataError, PermanentError
from openseek.evaluation import leaderboard
from openseek.evaluation.catalog import BENCHMARKS, to_item
from openseek.evaluation.summary import score_row
from openseek.evaluation.tasks.chinese import subjects
from openseek.evaluation.tasks.gsm8k import same_number
from openseek.evaluation.tasks.triviaqa import accepted, quasi_exact

from .rows import GOLDEN


def test_every_benchmark_has_a_golden_row_and_a_name_in_the_configuration():
    assert set(GOLDEN) == set(BENCHMARKS) == set(config.KNOWN_TASKS)
    for suite in typing.get_args(config.Suite):
        rows = leaderboard._data()["suites"].get(suite, {})
        assert {t for tasks in rows.values() for t in tasks} <= set(BENCHMARKS)
        assert suite in {"demo", "none"} or rows
    assert {t for r in leaderboard._data()["suites"]["all"].values() for t in r} == set(BENCHMARKS)
    assert len(leaderboard._data()["suites"]["challenge-prose"]) == 12


@pytest.mark.parametrize("task", GOLDEN)
def test_golden_prompt(task):
    row, context, continuations, gold = GOLDEN[task]
    item = to_item(BENCHMARKS[task], row, "row 0")
    assert BENCHMARKS[task].prompt(item) == (context, continuations)
    assert item.gold == gold
    shown = dataclasses.replace(item, preamble="Before.\n\n")
    assert BENCHMARKS[task].prompt(shown) == (f"Before.\n\n{context}", continuations)
    assert shown.id(task) == item.id(task)


def test_what_counts_is_what_openseek_counts():
    metrics = {t: b.metric for t, b in BENCHMARKS.items()}
    assert {t for t, m in metrics.items() if m == "acc"} == {"boolq", "commonsenseqa"}
    assert {t for t, m in metrics.items() if m == "qem"} >= {"triviaqa", "gsm8k"}
    for benchmark in BENCHMARKS.values():
        assert (benchmark.kind == "generate") == (benchmark.metric == "qem")
        assert (benchmark.kind == "generate") == bool(benchmark.judge and benchmark.max_tokens)
    assert {t for t, b in BENCHMARKS.items() if b.shots} == {"gsm8k"}
    assert len(subjects("cmmlu")) == 67
    assert len(subjects("ceval")) == 52


@pytest.mark.parametrize("task", GOLDEN)
def test_a_bad_row_is_an_error_that_names_task_and_row(task):
    row, benchmark = GOLDEN[task][0], BENCHMARKS[task]

    def refused(changed):
        with pytest.raises(DataError) as caught:
            to_item(benchmark, changed, "items.jsonl line 7")
        assert f"task {task}, items.jsonl line 7" in str(caught.value)
        return str(caught.value)

    texts = (
        "goal", "problem", "sentence", "question_stem", "context", "ctx", "passage", "question",
        "Question",
    )  # fmt: skip
    asked = next(c for c in texts if c in row)
    named = asked if asked != "problem" else "question"
    assert f"no column '{named}'" in refused({k: v for k, v in row.items() if k != asked})
    assert "20,0" in refused({**row, asked: "_" + "x" * 20_000})
    assert "unknown language 'tlh'" in refused({**row, "language": "tlh"})
    refused({**row, asked: None})


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("mmlu", {"choices": ["a", " ", "c", "d"]}, "option 2 is empty"),
        ("mmlu_mc", {"choices": ["a", "b", "c", ""]}, "option 4 is empty"),
        ("piqa", {"sol2": ""}, "option 2 is empty"),
        ("winogrande", {"sentence": "No gap."}, "one gap"),
        ("arc_easy", {"answerKey": "9"}, "none of the labels"),
        ("mmlu", {"answer": 4}, "one of at least two options"),
        ("hellaswag", {"label": ""}, "test has no labels"),
        ("cmmlu", {"subject": "alchemy"}, "unknown subject 'alchemy'"),
        ("mmlu", {"language": "zh"}, "the set is in en"),
        ("triviaqa", {"answer": {"aliases": []}}, "no alias"),
        ("gsm8k", {"answer": "four"}, "#### number"),
        ("boolq", {"question": 3}, "holds no text but 3"),
    ],
)
def test_what_a_row_must_hold(task, change, said):
    with pytest.raises(DataError, match=said):
        to_item(BENCHMARKS[task], {**GOLDEN[task][0], **change}, "row 0")


def test_a_missing_metric_is_an_error_and_a_generated_answer_has_no_chance():
    rows = [{"id": "a", "logprobs": [], "qem": 1.0}, {"id": "b", "logprobs": [], "qem": 0.0}]
    found = score_row("gsm8k", "qem", rows)
    assert (found["value"], found["chance"], found["n"]) == (0.5, 0.0, 2)
    for broken in ([*rows, {"id": "c", "logprobs": []}], []):
        with pytest.raises(PermanentError, match=r"task gsm8k.*'qem' is missing"):
            score_row("gsm8k", "qem", broken)


def test_triviaqa_counts_any_alias_without_case_and_punctuation():
    answers = accepted(["U.K.", "Great Britain", "Great Britain and more", "?"])
    assert answers == ("great britain", "uk")
    for said, right in ((" uk", 1), ("Great  Britain", 0), ("GREAT BRITAIN!", 1), ("", 0)):
        assert quasi_exact(said, answers) == {"qem": right}


def test_gsm8k_counts_the_number_after_the_marks():
    for said, right in (
        ("So it is 1,024.\n#### 1,024", 1), ("#### 1024\n#### 7", 1), ("1024", 0),
        ("#### -1024", 0), ("", 0),
    ):  # fmt: skip
        assert same_number(said, ["2^10\n#### 1024"]) == {"qem": right}
