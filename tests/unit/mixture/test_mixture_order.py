from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.mixture.order import Interleaving, floor_sum, permuted

counts = st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any)
keys = st.integers(0, 2**64 - 1)


@given(st.integers(0, 80), st.integers(1, 90), st.integers(0, 200), st.integers(0, 200))
def test_floor_sum_equals_the_sum(count: int, modulus: int, factor: int, offset: int) -> None:
    naive = sum((factor * i + offset) // modulus for i in range(count))
    assert floor_sum(count, modulus, factor, offset) == naive


@given(counts, keys)
def test_each_group_is_drawn_exactly_as_often_as_planned(numbers: list[int], key: int) -> None:
    groups, draws = Interleaving(numbers, key).at(0, sum(numbers))
    for group, count in enumerate(numbers):
        assert draws[groups == group].tolist() == list(range(count))


@given(counts, keys, st.data())
def test_seeking_equals_iterating(numbers: list[int], key: int, data: st.DataObject) -> None:
    order = Interleaving(numbers, key)
    groups, draws = order.at(0, order.n)
    first = data.draw(st.integers(0, order.n - 1))
    length = data.draw(st.integers(1, order.n - first))
    found = order.at(first, length)
    assert found[0].tolist() == groups[first : first + length].tolist()
    assert found[1].tolist() == draws[first : first + length].tolist()


@given(st.integers(0, 2**64 - 1))
def test_every_stretch_holds_each_group_in_its_share(key: int) -> None:
    numbers = [720, 150, 60, 40, 30]
    order = Interleaving(numbers, key)
    for first in range(0, 1000, 50):
        found = Counter(order.at(first, 50)[0].tolist())
        for group, count in enumerate(numbers):
            assert abs(found[group] - count * 50 / 1000) <= 3


@pytest.mark.parametrize(("first", "length"), [(-1, 2), (9, 2), (0, 11)])
def test_positions_outside_the_stage_are_refused(first: int, length: int) -> None:
    with pytest.raises(IndexError, match="of 10"):
        Interleaving([7, 3], 0).at(first, length)


@settings(max_examples=60)
@given(st.integers(1, 400), keys, st.integers(1, 4))
def test_each_pass_visits_each_sequence_once(n: int, key: int, passes: int) -> None:
    found = permuted(np.arange(passes * n), n, key).reshape(passes, n)
    assert (np.sort(found, axis=1) == np.arange(n)).all()


@given(st.integers(1, 10**12), keys, st.lists(st.integers(0, 10**15), min_size=1, max_size=9))
def test_a_draw_does_not_depend_on_its_neighbours(n: int, key: int, draws: list[int]) -> None:
    together = permuted(np.array(draws), n, key)
    alone = [int(permuted(np.array([draw]), n, key)[0]) for draw in draws]
    assert together.tolist() == alone
    assert all(0 <= i < n for i in alone)


def test_passes_and_keys_give_other_orders() -> None:
    draws = np.arange(2000)
    first, second = permuted(draws, 1000, 1).reshape(2, 1000)
    other = permuted(draws[:1000], 1000, 2)
    for a, b in ((first, second), (first, other), (first, draws[:1000])):
        assert (a == b).mean() < 0.02
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
