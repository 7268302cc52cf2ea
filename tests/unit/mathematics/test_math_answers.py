"""Final answers in solutions, and their equality."""

import pytest

from openseek.evaluation.catalog import BENCHMARKS
from openseek.mathematics import equality as math_equality
from openseek.mathematics.answers import boxed, equal, final_answer, same_answer
from openseek.mathematics.equality import Algebra


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"First \boxed{1}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{x_{1}", "1"),  # never closed: the last number
        (r"so \boxed 7$ it is", "7"),
        ("The answer is 12. Question: more", "12"),
        ("The final answer is: $3x$.", "3x"),
        ("3 + 4 = 7\n#### 7", "7"),
        ("所以答案是：5。", "5"),
        ("first 3, then 1,024 apples", "1,024"),
        ("no idea", ""),
        ("", ""),
    ],
)
def test_the_final_answer_of_a_solution(text, answer):
    assert final_answer(text) == answer


def test_boxes_nest():
    assert boxed(r"\boxed{\text{a {b} c}} and \boxed{\sqrt{\frac{1}{2}}}") == r"\sqrt{\frac{1}{2}}"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1/2", "0.5", True), (r"\frac12", r"\dfrac{1}{2}", True), ("1,000", "1000", True),
        (r"\frac{-1}{3}", "-1/3", True), ("007", "7", True), ("12.0", "12", True),
        (r"12\text{ cm}", "12", True), (r"90^\circ", "90", True), (r"50\%", "50", True),
        (r"\left(3,\frac{\pi}{2}\right)", r"(3, \frac{\pi}{2})", True),
        ("(1,2)", "(2,1)", False), ("[2,5)", "(2,5)", False), ("[2, 5)", "[2,5)", True),
        (r"\{1,2\}", r"\{2,1\}", True), ("3, 5", "5,3", True), ("3,5", "3,5,7", False),
        (r"\text{Evelyn}", "evelyn", True), ("x = 5", "5", True), ("", "3", False),
        ("1/0", "1/0.0", False), ("7", "8", False),
    ],
)  # fmt: skip
def test_what_text_and_numbers_decide(one, other, same, monkeypatch):
    monkeypatch.setattr("openseek.mathematics.answers.symbolically_equal", lambda *_: False)
    assert equal(one, other) is same
    assert equal(other, one) is same


@pytest.mark.slow
def test_what_algebra_decides_and_what_it_does_not_survive():
    algebra = Algebra()
    for one, other, same in (
        (r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2", True), ("x^2+2x+1", "(x+1)^2", True),
        (r"2\sqrt{2}", r"\sqrt{8}", True), ("x^2+y^2=4", "y^2+x^2=4", True),
        ("x+1", "x+2", False), (r"\pi", "3.14", False), (r"\frac{", "3", False),
        ("x" * 1000, "y", False),
    ):  # fmt: skip
        assert algebra.equal(one, other) is same, (one, other)
    assert algebra._child is not None
    first = algebra._child.pid
    # A number of ten billion digits: the process runs out of time or memory, and is replaced.
    assert not algebra.equal("(9^{9^{9}}+x)^{9}-1", "(9^{9^{9}}+x)^{8}")
    assert algebra.equal("x+x", "2x")
    algebra._child.kill()
    algebra._child.wait()
    assert algebra.equal("x+x", "2x")
    assert algebra._child.pid != first
    algebra.close()


def test_an_expression_that_is_too_long_is_not_even_sent():
    algebra = Algebra()
    assert not algebra.equal("1+" * math_equality.MAX_CHARS + "1", "2")
    assert algebra._child is None


def test_the_sets_are_judged_by_any_of_their_answers():
    judge = BENCHMARKS["olympiadbench"].judge
    assert judge(r"... so \boxed{0.5}", ["3", "$1/2$"]) == {"qem": 1.0}
    assert judge("I do not know", ["3"]) == {"qem": 0.0}
    assert same_answer("", ["3"]) == {"qem": 0.0}
