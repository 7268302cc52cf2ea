"""Charts as SVG, drawn in Python: small, sharp in print, and coloured by the page's theme.

Every function takes plain numbers, leaves out what is missing or not finite, and returns markup.
`svg_data_uri` makes an image of it for places that only take one (Prefect's Markdown).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openseek.report.bars import grouped_bars, histogram, hundred_bars, stacked_bars
from openseek.report.fmt import compact, number
from openseek.report.html import Html, h, join
from openseek.report.scales import Point, Scale, decimate, extent, spread, text_width
from openseek.report.svg import (
    CATEGORY_COLORS,
    Format,
    c,
    color,
    drawing,
    line,
    placeholder,
    rect,
    svg_data_uri,
    text,
    x_axis,
    y_axis,
)

__all__ = [
    "CATEGORY_COLORS",
    "Series",
    "grouped_bars",
    "heatmap",
    "histogram",
    "hundred_bars",
    "line_chart",
    "sparkline",
    "stacked_bars",
    "svg_data_uri",
]


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Written at the line's right end.
        points: (x, y) in any order; points that are not finite are left out.
        color: Number of a colour, or `muted`.
        thin: Draw it as a thin, faint line without a label (raw values below a smoothed line).
    """

    name: str
    points: Sequence[tuple[Any, Any]]
    color: int | str = 0
    thin: bool = False

    def clean(self, log_y: bool) -> list[Point]:
        """Return the points that can be drawn, by x."""
        found = []
        for x, y in self.points:
            fx, fy = number(x), number(y)
            if fx is not None and fy is not None and (fy > 0 or not log_y):
                found.append((fx, fy))
        return sorted(found)


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str = "",
    y_label: str = "",
    x_format: Format = compact,
    y_format: Format = compact,
    references: Sequence[tuple[float, str]] = (),
    spans: Sequence[tuple[float, float, str]] = (),
    marks: Sequence[float] = (),
    log_y: bool = False,
    zero: bool = False,
    width: float = 560,
    height: float = 290,
) -> Html:
    """Draw lines over a common x axis, each with its name at its end.

    Args:
        series: The lines; the first ones are drawn below.
        label: What the chart shows, for screen readers.
        x_label: Title of the x axis, with its unit.
        y_label: Title of the y axis, with its unit.
        x_format: Prints a value of x.
        y_format: Prints a value of y.
        references: Horizontal lines (value, name).
        spans: Parts of the x axis (from, to, name): the stages of training.
        marks: Values of x to mark with a vertical line.
        log_y: Logarithmic y axis; values of zero and below are left out.
        zero: Whether the y axis begins at zero.
        width: Width of the view box.
        height: Height of the view box.
    """
    curves = [(s, decimate(p)) for s in series if (p := s.clean(log_y))]
    if not curves:
        return placeholder()
    lines = [(v, n) for v, n in references if number(v) is not None and (v > 0 or not log_y)]
    names = [s.name for s, _ in curves if not s.thin] + [n for _, n in lines]
    right = width - max(8.0, *(text_width(n) + 12 for n in names)) if names else width - 8
    top, bottom, left = 34.0 if spans else 24.0, height - 42.0, 52.0
    xs = [x for _, p in curves for x, _ in p]
    ys = [y for _, p in curves for _, y in p] + [v for v, _ in lines]
    lo, hi = (min(ys) / 1.2, max(ys) * 1.2) if log_y else extent(ys, zero=zero)
    x_scale = Scale(*extent(xs, pad=0.0), left, right)
    y_scale = Scale(lo, hi, bottom, top, log_y)
    parts = [_spans(spans, x_scale, top, bottom)]
    parts += [
        y_axis(y_scale, left, right, y_format, y_label),
        x_axis(x_scale, bottom, x_format, x_label),
    ]
    for value, _ in lines:
        parts.append(line(left, y_scale(value), right, y_scale(value), "ref"))
    for x in marks:
        if min(xs) <= x <= max(xs):
            parts.append(line(x_scale(x), top, x_scale(x), bottom, "skip"))
    for s, points in curves:
        parts.append(_path(s, points, x_scale, y_scale))
    parts.append(_end_labels(curves, lines, y_scale, right, top, bottom))
    hover = _hover(curves, x_scale, y_scale, x_format, y_format, x_label)
    return drawing(width, height, label, *parts, data_hover=hover)


def _path(s: Series, points: list[Point], x_scale: Scale, y_scale: Scale) -> Html:
    cls = f"line {color(s.color)}" + (" thin" if s.thin else "")
    if len(points) == 1:
        x, y = points[0]
        return h("circle", cx=c(x_scale(x)), cy=c(y_scale(y)), r=3.5, cls=f"dot {color(s.color)}")
    steps = "L".join(f"{c(x_scale(x))} {c(y_scale(y))}" for x, y in points)
    return h("path", d=f"M{steps}", cls=cls)


def _spans(
    spans: Sequence[tuple[float, float, str]], x_scale: Scale, top: float, bottom: float
) -> Html:
    parts = []
    for i, (start, end, name) in enumerate(spans):
        x0, x1 = x_scale(start), x_scale(end)
        parts.append(
            h(
                "rect",
                x=c(x0),
                y=c(top - 10),
                width=c(max(x1 - x0, 0)),
                height=c(bottom - top + 10),
                cls=f"span{i % 2}",
            )
        )
        if text_width(name, 11) < x1 - x0 - 6:
            parts.append(text(x0 + 5, top + 2, name, "span"))
    return join(parts)


def _end_labels(
    curves: Sequence[tuple[Series, list[Point]]],
    lines: Sequence[tuple[float, str]],
    y_scale: Scale,
    right: float,
    top: float,
    bottom: float,
) -> Html:
    named = [(s.name, p[-1][1], color(s.color)) for s, p in curves if not s.thin and s.name]
    named += [(name, value, "c-muted") for value, name in lines]
    at = spread([y_scale(v) for _, v, _ in named], 14.0, top, bottom)
    return join(
        [
            text(right + 7, y + 4, name, f"end t{cls}")
            for (name, _, cls), y in zip(named, at, strict=True)
        ]
    )


def _hover(
    curves: Sequence[tuple[Series, list[Point]]],
    x_scale: Scale,
    y_scale: Scale,
    x_format: Format,
    y_format: Format,
    x_label: str,
) -> str:
    """Describe the curves for the page's script: positions and printed values, no arithmetic."""
    shown = [
        {
            "n": s.name,
            "c": color(s.color),
            "p": [
                [round(x_scale(x), 1), round(y_scale(y), 1), x_format(x), y_format(y)]
                for x, y in decimate(points, 120)
            ],
        }
        for s, points in curves
        if not s.thin and len(points) > 1
    ]
    return json.dumps({"x": x_label, "s": shown}, ensure_ascii=False, separators=(",", ":"))


def heatmap(
    values: Sequence[Sequence[Any]],
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    label: str,
    x_label: str = "",
    y_label: str = "",
    fmt: Format = compact,
    middle: float | None = None,
    width: float = 560,
) -> Html:
    """Draw a matrix as shaded cells, one hue, or two around `middle`.

    Args:
        values: Rows of cells; missing ones are left blank.
        rows: Names of the rows.
        columns: Names of the columns; shown thinned out when there are many.
        label: What it shows.
        x_label: Title of the columns.
        y_label: Title of the rows.
        fmt: Prints a value in the tip.
        middle: The neutral value; darker above, the other hue below.
        width: Width of the view box.
    """
    cells = [[number(v) for v in row] for row in values]
    flat = [v for row in cells for v in row if v is not None]
    if not flat:
        return placeholder()
    n_columns = max(len(row) for row in cells)
    left = max(28.0, *(text_width(str(r)) + 10 for r in rows)) if rows else 28.0
    top, w = 22.0, (width - left - 4) / n_columns
    tall = min(30.0, max(12.0, w, 150 / len(cells)))
    low, high = min(flat), max(flat)
    parts: list[Html] = [text(0, 12, y_label, "axis")]
    for i, row in enumerate(cells):
        y = top + i * tall
        name = str(rows[i]) if i < len(rows) else str(i)
        parts.append(text(left - 8, y + tall / 2 + 4, name, "tick", anchor="end"))
        for j, value in enumerate(row):
            if value is None:
                continue
            hue, share = _shade(value, low, high, middle)
            tip = (
                f"{y_label} {name}, {x_label} {columns[j] if j < len(columns) else j}: {fmt(value)}"
            )
            cell = rect(left + j * w, y, w - 1, tall - 1, f"{hue}", tip)
            parts.append(Html(cell.replace("<rect", f'<rect fill-opacity="{share:.2f}"', 1)))
    bottom = top + len(cells) * tall
    longest = max((text_width(str(name)) for name in columns), default=0.0) + 14
    stride = max(1, int(-(-longest // w))) if columns else n_columns
    for j in range(0, n_columns, stride):
        name = str(columns[j]) if j < len(columns) else str(j)
        parts.append(text(left + (j + 0.5) * w, bottom + 15, name, "tick", anchor="middle"))
    parts.append(text(width - 4, bottom + 32, x_label, "axis", anchor="end"))
    return drawing(width, bottom + 38, label, *parts)


def _shade(value: float, low: float, high: float, middle: float | None) -> tuple[str, float]:
    if middle is None:
        return "heat-up", 0.08 + 0.92 * ((value - low) / (high - low) if high > low else 0.5)
    reach = max(high - middle, middle - low) or 1.0
    hue = "heat-up" if value >= middle else "heat-down"
    return hue, 0.06 + 0.94 * min(1.0, abs(value - middle) / reach)


def sparkline(
    values: Sequence[Any], *, label: str = "trend", width: float = 96, height: float = 22
) -> Html:
    """Draw a word-sized line with a dot at its end."""
    points = [(float(i), y) for i, v in enumerate(values) if (y := number(v)) is not None]
    if len(points) < 2:
        return Html("")
    points = decimate(points, 80)
    x_scale = Scale(points[0][0], points[-1][0], 2, width - 4)
    y_scale = Scale(*extent([y for _, y in points]), height - 2, 2)
    steps = "L".join(f"{c(x_scale(x))} {c(y_scale(y))}" for x, y in points)
    end = h(
        "circle", cx=c(x_scale(points[-1][0])), cy=c(y_scale(points[-1][1])), r=2.5, cls="dot c0"
    )
    svg = drawing(width, height, label, h("path", d=f"M{steps}", cls="line c0"), end)
    return Html(svg.replace('class="chart"', 'class="spark"', 1))
