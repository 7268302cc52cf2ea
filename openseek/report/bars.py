"""Bar charts: grouped with error bars, stacked, and histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openseek.report.fmt import compact, number, percent
from openseek.report.html import Html, h, join
from openseek.report.scales import Scale, extent, text_width
from openseek.report.svg import (
    Format,
    color,
    drawing,
    legend,
    line,
    placeholder,
    rect,
    text,
    x_axis,
    y_axis,
)


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Any]],
    *,
    label: str,
    y_label: str = "",
    y_format: Format = compact,
    errors: Mapping[str, Sequence[Any]] | None = None,
    marks: Mapping[str, Sequence[Any]] | None = None,
    colors: Mapping[str, int | str] | None = None,
    width: float = 560,
    height: float = 290,
) -> Html:
    """Draw groups of bars from zero, with error bars and marks across a group.

    Args:
        groups: Names below the axis.
        series: Name of a bar -> a value for each group; missing ones leave a gap.
        label: What it shows.
        y_label: Title of the y axis, with its unit.
        y_format: Prints a value.
        errors: Name of a bar -> half length of its error bar for each group.
        marks: Name -> a level across each group (a baseline, chance).
        colors: Name of a bar -> colour.
        width: Width of the view box.
        height: Height of the view box.
    """
    bars = {n: [number(v) for v in values] for n, values in series.items()}
    levels = {n: [number(v) for v in values] for n, values in (marks or {}).items()}
    half = {n: [number(v) or 0.0 for v in values] for n, values in (errors or {}).items()}
    tops = [
        v + _at(half.get(n), i, 0.0)
        for n, row in (bars | levels).items()
        for i, v in enumerate(row)
        if v is not None
    ]
    if not tops or not groups:
        return placeholder()
    left, right, top = 52.0, width - 4, 26.0
    room = (right - left) / len(groups)
    names = [wrap_name(g, room - 6) for g in groups]
    bottom = height - 17.0 - 13.0 * max(len(n) for n in names)
    scale = Scale(*extent(tops, zero=True), bottom, top)
    shades = {n: color((colors or {}).get(n, i)) for i, n in enumerate(bars)}
    thick = min(40.0, room * 0.78 / max(1, len(bars)))
    parts = [y_axis(scale, left, right, y_format, y_label)]
    for g, group in enumerate(groups):
        middle = left + (g + 0.5) * room
        for b, (name, row) in enumerate(bars.items()):
            x = middle + (b - len(bars) / 2) * thick
            value, error = _at(row, g, None), _at(half.get(name), g, 0.0)
            if value is not None:
                says = f"{group}, {name}: {y_format(value)}"
                tip = f"{says} ± {y_format(error)}" if error else says
                parts.append(_bar(scale, x, thick, value, shades[name], tip))
                parts.append(_whisker(scale, x + thick / 2, value, error))
        reach = max(thick * len(bars) / 2 + 5, 12)
        for name, row in levels.items():
            if (value := _at(row, g, None)) is not None:
                y, says = scale(value), f"{group}, {name}: {y_format(value)}"
                mark = line(middle - reach, y, middle + reach, y, "mark")
                parts.append(h("g", h("title", says), mark))
        for i, part in enumerate(names[g]):
            parts.append(text(middle, bottom + 18 + 13 * i, part, "tick", anchor="middle"))
    parts.append(line(left, scale(0.0), right, scale(0.0), "base"))
    keys = [*shades.items(), *((n, "k-mark") for n in levels)]
    return join([legend(keys) if len(keys) > 1 else None, drawing(width, height, label, *parts)])


def wrap_name(name: str, room: float) -> list[str]:
    """Break a name after `_`, `-` or a space into lines that fit into `room`, at most two."""
    if text_width(name) <= room:
        return [name]
    cuts = [i + 1 for i, char in enumerate(name[:-1]) if char in "_- "]
    if cuts:
        cut = min(cuts, key=lambda i: abs(i - len(name) / 2))
        lines = [name[:cut], name[cut:]]
    else:
        lines = [name]
    fits = max(3, int(room / text_width("x")))
    return [x if text_width(x) <= room else x[: fits - 1] + "…" for x in lines]


def _at(row: Sequence[Any] | None, i: int, default: Any) -> Any:
    return row[i] if row is not None and i < len(row) else default


def _bar(scale: Scale, x: float, thick: float, value: float, cls: str, tip: str) -> Html:
    y0, y1 = scale(0.0), scale(value)
    return rect(x + 0.5, min(y0, y1), thick - 1, max(abs(y1 - y0), 0.5), f"bar {cls}", tip)


def _whisker(scale: Scale, x: float, value: float, error: float) -> Html:
    if not error:
        return Html("")
    top, low = scale(value + error), scale(value - error)
    return join(
        [
            line(x, top, x, low, "whisker"),
            line(x - 3, top, x + 3, top, "whisker"),
            line(x - 3, low, x + 3, low, "whisker"),
        ]
    )


def stacked_bars(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    label: str,
    x_label: str = "",
    x_format: Format = compact,
    colors: Mapping[str, int | str] | None = None,
    notes: Sequence[str] = (),
    width: float = 560,
) -> Html:
    """Draw horizontal bars made of parts, one a row, with the total at their end.

    Args:
        rows: (name, part -> value); parts keep one colour over all rows.
        label: What it shows.
        x_label: Title of the x axis, with its unit.
        x_format: Prints a value.
        colors: Part -> colour.
        notes: Text after the total of each row.
        width: Width of the view box.
    """
    clean = [
        (n, {k: x for k, v in parts.items() if (x := number(v)) and x > 0}) for n, parts in rows
    ]
    totals = [sum(parts.values()) for _, parts in clean]
    if not any(totals):
        return placeholder()
    keys = list(dict.fromkeys(k for _, parts in rows for k in parts))
    shades = {k: (colors or {}).get(k, i) for i, k in enumerate(keys)}
    left = max(60.0, *(text_width(n) + 12 for n, _ in rows))
    ends = [
        f"{x_format(t)} {notes[i] if i < len(notes) else ''}".strip() for i, t in enumerate(totals)
    ]
    right = width - max(text_width(e) + 10 for e in ends)
    tall, top = 27.0, 6.0
    bottom = top + tall * len(rows)
    scale = Scale(0.0, max(totals), left, right)
    drawn: list[Html] = []
    for i, (name, parts) in enumerate(clean):
        y, x = top + i * tall, scale(0.0)
        drawn.append(text(left - 10, y + 16, name, "row", anchor="end"))
        for k in keys:
            if k in parts:
                w = scale(parts[k]) - left
                tip = f"{name}, {k}: {x_format(parts[k])} ({percent(parts[k] / totals[i])})"
                drawn.append(
                    rect(
                        x,
                        y + 3,
                        w - (0.7 if w > 2 else 0),
                        tall - 9,
                        f"bar {color(shades[k])}",
                        tip,
                    )
                )
                x += w
        drawn.append(text(x + 7, y + 16, ends[i], "tick"))
    drawn.append(x_axis(scale, bottom, x_format, x_label, 4))
    chart = drawing(width, bottom + (42 if x_label else 26), label, *drawn)
    return join([legend([(k, color(shades[k])) for k in keys]), chart])


def hundred_bars(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    label: str,
    colors: Mapping[str, int | str] | None = None,
    width: float = 560,
) -> Html:
    """Draw horizontal bars of equal length that show shares, written inside where they fit."""
    clean = [
        (n, {k: x for k, v in parts.items() if (x := number(v)) and x > 0}) for n, parts in rows
    ]
    if not any(parts for _, parts in clean):
        return placeholder()
    keys = list(dict.fromkeys(k for _, parts in rows for k in parts))
    shades = {k: (colors or {}).get(k, i) for i, k in enumerate(keys)}
    left = max(60.0, *(text_width(n) + 12 for n, _ in rows))
    drawn: list[Html] = []
    tall = 27.0
    for i, (name, parts) in enumerate(clean):
        total, x, y = sum(parts.values()), left, i * tall
        drawn.append(text(left - 10, y + 16, name, "row", anchor="end"))
        for k in keys:
            share = parts.get(k, 0.0) / total if total else 0.0
            w = share * (width - left - 2)
            if w <= 0:
                continue
            tip = f"{name}, {k}: {percent(share)}"
            drawn.append(
                rect(x, y + 2, w - (0.7 if w > 2 else 0), tall - 6, f"bar {color(shades[k])}", tip)
            )
            inside = percent(share, 0)
            if text_width(inside, 11) + 6 < w:
                drawn.append(
                    text(
                        x + w / 2, y + 16.5, inside, f"inside i{color(shades[k])}", anchor="middle"
                    )
                )
            x += w
    chart = drawing(width, tall * len(rows) + 2, label, *drawn)
    return join([legend([(k, color(shades[k])) for k in keys]), chart])


def histogram(
    edges: Sequence[float],
    counts: Sequence[Any],
    *,
    label: str,
    x_label: str = "",
    x_format: Format = compact,
    marks: Sequence[tuple[float, str]] = (),
    width: float = 560,
    height: float = 240,
) -> Html:
    """Draw counts between edges; `marks` are vertical lines (value, name), such as thresholds."""
    bins = [number(v) or 0.0 for v in counts]
    ends = [number(e) for e in edges]
    if not bins or len(ends) != len(bins) + 1 or None in ends or not any(bins):
        return placeholder()
    at = [e for e in ends if e is not None]
    left, top, bottom = 52.0, 30.0, height - 42.0
    x_scale, y_scale = (
        Scale(at[0], at[-1], left, width - 10),
        Scale(0.0, max(bins) * 1.05, bottom, top),
    )
    parts = [y_axis(y_scale, left, width - 10, compact, "documents")]
    for i, value in enumerate(bins):
        x0, x1 = x_scale(at[i]), x_scale(at[i + 1])
        tip = f"{x_format(at[i])} to {x_format(at[i + 1])}: {compact(value)}"
        y = y_scale(value)
        parts.append(rect(x0 + 0.5, y, max(x1 - x0 - 1, 0.5), bottom - y, "bar c0", tip))
    for value, name in marks:
        if at[0] <= value <= at[-1]:
            x = x_scale(value)
            parts += [
                line(x, top - 4, x, bottom, "ref"),
                text(x, top - 8, name, "span", anchor="middle"),
            ]
    parts.append(x_axis(x_scale, bottom, x_format, x_label))
    return drawing(width, height, label, *parts)
