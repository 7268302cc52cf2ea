"""Comparisons that hang are killed, and the others go on."""

import threading

import pytest

from openseek.mathematics import Comparison, MathPool

HANGS = ("(9^{9^{9}}+x)^{9}-1", "(9^{9^{9}}+x)^{8}")  # a number of 370 million digits


def test_text_and_numbers_need_no_process():
    with MathPool() as pool:
        pairs = [("1/2", "0.5"), ("7", "8"), (r"\frac12", "0.50"), ("", "3")]
        assert [c.equal for c in pool.compare(pairs)] == [True, False, True, False]
        assert not any(a._child for a in pool._all)


@pytest.mark.slow
def test_a_hanging_expression_is_killed_counted_and_the_pool_goes_on():
    pairs = [("x+x", "2x"), HANGS, ("x^2+2x+1", "(x+1)^2"), ("x", "y")]
    found: list[list[Comparison]] = []

    def work() -> None:  # not the main thread: no signal could be used
        with MathPool(2, cpu_s=1) as pool:
            found.append(pool.compare(pairs))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [
        [Comparison(True), Comparison(False, undecided=True), Comparison(True), Comparison(False)]
    ]


@pytest.mark.slow
def test_a_process_that_sleeps_is_killed_by_the_clock_on_the_wall():
    with MathPool(cpu_s=60, wait_s=0.05) as pool:  # nothing hard is parsed and simplified so fast
        assert pool.compare([HANGS]) == [Comparison(False, undecided=True)]
