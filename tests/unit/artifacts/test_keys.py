"""Identity: one encoding for equal values, none for what has no canonical form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.artifacts.files import FileRecord
from openseek.artifacts.keys import canonical, content_digest, step_key

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_canonical_round_trips(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), scalars, min_size=2))
def test_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, float("nan")]}, r"\$\.a\[1\]"),
        ({"a": {1, 2}}, r"\$\.a"),
        ({"f": len}, r"\$\.f"),
        ({1: "x"}, r"\$"),
        (object(), r"\$"),
        (float("inf"), r"\$"),
    ],
)
def test_what_has_no_canonical_form_is_named(value: Any, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        canonical(value)


def test_key_changes_with_every_part() -> None:
    keys = {
        step_key("clean", 1, {"a": 1}, {"x": "d"}),
        step_key("dedup", 1, {"a": 1}, {"x": "d"}),
        step_key("clean", 2, {"a": 1}, {"x": "d"}),
        step_key("clean", 1, {"a": 2}, {"x": "d"}),
        step_key("clean", 1, {"a": 1}, {"x": "e"}),
        step_key("clean", 1, {"a": 1}, {"y": "d"}),
    }
    assert len(keys) == 6


def test_digest_ignores_where_files_lie() -> None:
    here = [FileRecord("a", 1, "s1", path="attempts/1/a"), FileRecord("b", 2, "s2")]
    there = [FileRecord("b", 2, "s2", rows=7), FileRecord("a", 1, "s1", path="attempts/2/a")]
    assert content_digest(here) == content_digest(there)
    assert content_digest(here) != content_digest(here[:1])
