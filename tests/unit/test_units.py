from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.units import format_bytes, format_count, format_seconds, parse_bytes, parse_count


@pytest.mark.parametrize(
    ("text", "value"),
    [("2M", 2_000_000), ("1.5B", 1_500_000_000), ("4096", 4096), ("4_096", 4096), ("1e6", 10**6)],
)
def test_counts(text: str, value: int) -> None:
    assert parse_count(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("256MB", 256_000_000), ("64MiB", 64 * 2**20), ("1kb", 1000), ("7", 7)]
)
def test_sizes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("wrong", ["2X", "", "M", "1.5", None, True, "-3", "0.5B tokens", 1.5])
def test_what_is_no_count_is_refused_with_an_example(wrong: object) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_count(wrong)


@given(st.integers(min_value=0, max_value=10**15))
def test_plain_numbers_round_trip(value: int) -> None:
    assert parse_count(str(value)) == value
    assert parse_bytes(value) == value


def test_printing() -> None:
    assert format_count(2_050_000) == "2.05M"
    assert format_bytes(256_000_000) == "256 MB"
    assert format_bytes(12) == "12 B"
    assert [format_seconds(s) for s in (4.25, 41, 200, 7500)] == ["4.2s", "41s", "3m20s", "2h05m"]
