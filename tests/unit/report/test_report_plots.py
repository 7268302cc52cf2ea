import math
import re
from functools import partial
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.report.plots import (
    Series,
    grouped_bars,
    heatmap,
    histogram,
    hundred_bars,
    line_chart,
    sparkline,
    stacked_bars,
    svg_data_uri,
)
from openseek.report.scales import Scale, decimate, nice_ticks, smooth, spread

ODD = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.none(), st.integers(-(10**30), 10**30)
)
CHARTS = [
    line_chart(
        [Series("a", [(0, 1), (1, 3), (2, 2)]), Series("b", [(0, 2)])],
        label="l", x_label="x", references=[(2.5, "base")],
        spans=[(0, 1, "one"), (1, 2, "two")],
    ),
    line_chart([Series("log", [(1, 1e-5), (2, 10), (3, 0), (4, -1)])], label="l", log_y=True),
    grouped_bars(["a", "long_group-name"], {"s": [1, -2], "t": [None, 3]}, label="g",
                 errors={"s": [0.5, 0.1]}, marks={"chance": [0.25, None]}),
    stacked_bars([("a", {"x": 3, "y": 1}), ("b", {"x": 0, "y": 2})], label="s", x_label="bytes"),
    hundred_bars([("a", {"x": 3, "y": 1}), ("b", {})], label="h"),
    histogram([0, 0.5, 1.0], [3, 9], label="h", marks=[(0.7, "cut")]),
    heatmap([[1, 2, None], [0.5, 1, 4]], rows=["a", "b"], columns=[1, 2, 3], label="m", middle=1.0),
    sparkline([1, 2, None, 3]),
]  # fmt: skip


def svg_of(markup):
    return ElementTree.fromstring(markup[markup.index("<svg") : markup.rindex("</svg>") + 6])


def _number(node, name):
    return float(node.get(name, 0))


def points_of(svg):
    """Every coordinate of every shape."""
    for node in svg.iter():
        get = partial(_number, node)
        if node.tag == "rect":
            yield get("x"), get("y")
            yield get("x") + get("width"), get("y") + get("height")
        elif node.tag == "line":
            yield get("x1"), get("y1")
            yield get("x2"), get("y2")
        elif node.tag == "circle":
            yield get("cx"), get("cy")
        elif node.tag == "path":
            for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", node.get("d")):
                yield tuple(map(float, pair))
        elif node.tag == "text":
            yield get("x"), get("y")


def check(markup):
    if "<svg" not in markup:
        assert "no data" in markup or markup == ""
        return
    svg = svg_of(markup)
    _, _, width, height = map(float, svg.get("viewBox").split())
    for x, y in points_of(svg):
        assert math.isfinite(x)
        assert math.isfinite(y)
        assert -0.06 <= x <= width + 0.06
        assert -0.06 <= y <= height + 0.06


@pytest.mark.parametrize("markup", CHARTS)
def test_all_shapes_lie_inside_the_view_box(markup):
    assert "<svg" in markup
    check(markup)


@settings(max_examples=60)
@given(st.lists(st.tuples(ODD, ODD), max_size=12), st.booleans(), st.booleans())
def test_line_chart_takes_any_numbers(points, log_y, zero):
    check(line_chart([Series("a", points)], label="l", log_y=log_y, zero=zero))


@settings(max_examples=60)
@given(st.lists(ODD, max_size=6), st.lists(ODD, max_size=6))
def test_bars_take_any_numbers(values, errors):
    groups = [f"group {i}" for i in range(len(values))]
    check(grouped_bars(groups, {"a": values}, label="g", errors={"a": errors}))
    check(stacked_bars([("row", {f"p{i}": v for i, v in enumerate(values)})], label="s"))
    check(hundred_bars([("row", {f"p{i}": v for i, v in enumerate(values)})], label="h"))
    check(heatmap([values, errors], rows=["a", "b"], columns=range(6), label="m"))
    check(histogram(range(len(values) + 1), values, label="h"))


def test_chart_without_data_is_no_chart():
    for markup in (
        line_chart([], label="l"),
        line_chart([Series("a", [(1, math.nan)])], label="l"),
        grouped_bars([], {}, label="g"),
        stacked_bars([("a", {"x": 0})], label="s"),
        histogram([], [], label="h"),
        heatmap([[None]], rows=["a"], columns=["b"], label="m"),
    ):
        assert "<svg" not in markup


def test_higher_values_are_drawn_higher_and_bars_by_length():
    svg = svg_of(line_chart([Series("", [(0, 1), (1, 5)])], label="l"))
    path = next(n for n in svg.iter("path")).get("d")
    (x0, y0), (x1, y1) = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)
    assert float(x0) < float(x1)
    assert float(y0) > float(y1)
    bars = [
        float(n.get("width"))
        for n in svg_of(stacked_bars([("a", {"x": 30}), ("b", {"x": 10})], label="s")).iter("rect")
    ]
    assert bars[0] == pytest.approx(3 * bars[1], rel=0.02)


def test_chart_text_is_escaped():
    markup = line_chart([Series("<b>&", [(0, 1), (1, 2)])], label='"<x>', y_label="<y>")
    assert "<b>" not in markup
    assert "<y>" not in markup
    svg_of(markup)


@pytest.mark.parametrize("markup", CHARTS)
def test_data_uri_is_one_valid_svg_with_its_own_style(markup):
    import base64

    uri = svg_data_uri(markup)
    head, _, body = uri.partition(",")
    assert head == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(body))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root[0].tag.endswith("style")


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_few_and_inside(lo, span, n):
    hi = lo + span
    ticks = nice_ticks(lo, hi, n)
    assert len(ticks) <= 4 * n + 4
    slack = span * 1e-6 + 4 * math.ulp(max(abs(lo), abs(hi)))
    assert all(lo - slack <= t <= hi + slack for t in ticks)
    assert ticks == sorted(set(ticks))


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_labels_are_spread_and_keep_their_order(positions):
    placed = spread(positions, 14.0, 10.0, 290.0)
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    gaps = [placed[b] - placed[a] for a, b in pairwise(order)]
    assert all(g >= min(14.0, 280 / max(1, len(positions) - 1)) - 1e-6 for g in gaps)
    assert all(10 - 1e-6 <= p <= 290 + 1e-6 for p in placed)


def test_thinning_out_keeps_spikes_and_ends():
    points = [(float(i), 100.0 if i == 777 else math.sin(i)) for i in range(10_000)]
    thin = decimate(points, 200)
    assert len(thin) <= 204
    assert (777.0, 100.0) in thin
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert thin == sorted(thin)


def test_smoothing_keeps_a_constant_and_clamps_scale():
    flat = [(float(i), 4.0) for i in range(50)]
    assert smooth(flat, 0.2) == flat
    assert Scale(0, 10, 100, 0)(25) == 0
