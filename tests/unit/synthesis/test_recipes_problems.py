from __future__ import annotations

from typing import ClassVar

import pytest
from recipes_small import Script, drawn, reason, run

from openseek.synthesis import RowFailure
from openseek.synthesis.recipes.problems import count_votes
from openseek.synthesis.recipes.rl_code import usable_tests
from openseek.synthesis.recipes.rl_commonsense import Question, ballot, lay_out

GOOD = {"clear": 5, "solvable": 4, "useful": 3}
PROBLEM = {"problem": "Three pipes fill a tank in 2, 3 and 6 hours. How many hours together?"}
ZH = {"problem": "三根水管分别用 2、3、6 小时注满水池，同时打开需要几小时？"}


def voting(*answers: str) -> list[str]:
    return [f"1. Add the rates.\n2. Invert.\n3. Done.\nAnswer: {a}" for a in answers]


def by_sample(answers: list[str]) -> object:
    return lambda prompt: answers[prompt.sample]


class TestKeyPoints:
    @pytest.mark.parametrize(("lang", "problem"), [("en", PROBLEM), ("zh", ZH)])
    def test_a_problem_with_its_voted_answer(self, lang: str, problem: dict[str, str]) -> None:
        teacher = Script({
            "key_points/write": problem, "key_points/score": GOOD,
            "key_points/solve": voting("1 hour", "2", "**1 hour.**"),
        })  # fmt: skip
        (row,) = run("key_points", drawn("math", lang), teacher)
        assert (row.kind, row.query, row.final) == ("problem", problem["problem"], "1 hour")
        assert row.steps == ("Add the rates.", "Invert.", "Done.")
        assert row.extra["votes"] == {"1hour": 2, "2": 1}
        assert row.extra["seeds"] == ["s1"]
        assert "rates add up" in teacher.asked[0].messages[1]["content"]
        assert [p.sample for p in teacher.asked if p.kind == "key_points/solve"] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("said", "found"),
        [
            ({"key_points/score": GOOD | {"solvable": 2}}, "weak_problem"),
            ({"key_points/score": GOOD | {"clear": 9}}, "schema"),
            ({"key_points/solve": voting("1", "2", "3")}, "no_majority"),
            ({"key_points/solve": "I give up."}, "no_majority"),
            ({"key_points/write": {"problem": " "}}, "no_problem"),
            ({"key_points/write": "no JSON"}, "schema"),
        ],
    )
    def test_what_fails_has_a_reason(self, said: dict[str, object], found: str) -> None:
        base = {
            "key_points/write": PROBLEM,
            "key_points/score": GOOD,
            "key_points/solve": voting("1"),
        }
        assert reason("key_points", drawn(), Script(base | said)) == found  # type: ignore[arg-type]

    def test_votes(self) -> None:
        told = [("1. a", "x"), ("1. b", "y"), ("1. c", "y")]
        vote = count_votes(told, ["x", "y", "y"], 0.5)
        assert (vote.final, vote.steps, vote.share) == ("y", ("b",), 0.6667)
        assert count_votes(told[:2], ["x", "y"], 0.5).final == "x"  # a tie: the first one
        with pytest.raises(RowFailure):
            count_votes(told, ["", "", "y"], 0.5)


class TestMathematics:
    def test_only_answers_that_a_rule_compares_count(self) -> None:
        said = {
            "rl_math/write": PROBLEM, "rl_math/score": GOOD,
            "rl_math/solve": voting("1", "It depends on how the pipes are opened", "1.0"),
        }  # fmt: skip
        (row,) = run("rl_math", drawn(), Script(said))
        assert (row.kind, row.final, row.extra["share"]) == ("rl", "1", 0.6667)
        said["rl_math/solve"] = voting("many", "many", "many")
        assert reason("rl_math", drawn(), Script(said)) in ("no_majority", "")


class TestCommonsense:
    QUESTION: ClassVar = {
        "question": "Why is the seat kept free?", "right": "She returns.",
        "wrong": ["It is broken.", "It is wet.", "It is sold."],
    }  # fmt: skip

    def test_the_key_must_win(self) -> None:
        text, key = lay_out(Question(**self.QUESTION), "sample-1")
        said = {"rl_commonsense/write": self.QUESTION, "rl_commonsense/solve": voting(f"({key})")}
        (row,) = run("rl_commonsense", drawn("commonsense"), Script(said))
        assert (row.kind, row.final, row.query) == ("rl", key, text)
        assert row.answer == f"{key}. She returns."
        other = "A" if key != "A" else "B"
        said["rl_commonsense/solve"] = voting(other)
        assert reason("rl_commonsense", drawn("commonsense"), Script(said)) == "wrong_key"

    def test_choices_differ_and_their_order_is_drawn(self) -> None:
        keys = {lay_out(Question(**self.QUESTION), str(i))[1] for i in range(40)}
        assert keys == set("ABCD")
        same = self.QUESTION | {"wrong": ["she returns.", "b", "c"]}
        assert reason("rl_commonsense", drawn(), Script({"rl_commonsense/write": same})) == (
            "same_choices"
        )

    def test_letters(self) -> None:
        assert [ballot(a) for a in ("B", "(c)", "B. It is wet.", "选 D", "Because", "")] == [
            "B", "C", "B", "D", "", ""
        ]  # fmt: skip


class TestCode:
    TASK: ClassVar = {
        "task": "Return twice the sum of a list; 0 for an empty one.", "name": "twice",
        "solution": "```python\ndef twice(xs):\n    return 2 * sum(xs)\n```",
        "tests": [
            "assert twice([]) == 0", "assert twice([1, 2]) == 6", "assert twice([-1]) == -2",
            "assert 1 == 1", "assert twice([1] == 2", "import os",
        ],
    }  # fmt: skip

    def test_a_task_with_a_solution_and_tests_that_run(self) -> None:
        (row,) = run("rl_code", drawn("code"), Script({"rl_code/write": self.TASK}))
        assert row.kind == "rl"
        assert "`twice`" in row.query
        assert row.extra["n_tests"] == 3
        space: dict[str, object] = {}
        exec(row.answer + "\n" + row.tests, space)
        with pytest.raises(AssertionError):
            exec("def twice(xs):\n    return 0\n" + row.tests, {})

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"solution": "def twice(:"}, "bad_solution"),
            ({"name": "other"}, "bad_solution"),
            ({"tests": ["assert twice([]) == 0"]}, "few_tests"),
            ({"tests": []}, "schema"),
        ],
    )
    def test_what_does_not_belong_together_fails(
        self, change: dict[str, object], found: str
    ) -> None:
        task = self.TASK | change
        assert reason("rl_code", drawn("code", "zh"), Script({"rl_code/write": task})) == found

    def test_a_test_is_one_assertion_that_calls_the_function(self) -> None:
        kept = usable_tests(["assert f(1) == 1", "assert g(1)", "f(1)", "assert f(1) == 1"], "f")
        assert kept == ["assert f(1) == 1"]
