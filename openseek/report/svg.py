"""Pieces that all charts share: the drawing, axes, labels, colours and the stand-alone form.

Colours are CSS variables with the light theme's value as default (`style.css` holds both themes);
they come from Okabe and Ito's palette, which is told apart with every common colour blindness.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from importlib.resources import files

from openseek.report.html import Html, h, join
from openseek.report.scales import Scale

N_COLORS = 8
XMLNS = "http://www.w3.org/2000/svg"  # a name, never fetched; HTML needs it only outside
CATEGORY_COLORS = {"foundation": 0, "code": 1, "math": 2, "cot": 3}
Format = Callable[[float], str]


def drawing(width: float, height: float, label: str, *content: object, **attrs: object) -> Html:
    """Build an SVG that scales to the width of its surroundings."""
    return h(
        "svg",
        *content,
        viewBox=f"0 0 {c(width)} {c(height)}",
        role="img",
        aria_label=label,
        cls="chart",
        **attrs,
    )


def c(value: float) -> str:
    """Print a coordinate with at most one decimal: charts are a third of the page's bytes."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> Html:
    """Draw a straight line."""
    return h("line", x1=c(x1), y1=c(y1), x2=c(x2), y2=c(y2), cls=cls)


def text(
    x: float, y: float, value: object, cls: str = "", *, anchor: str = "start", **attrs: object
) -> Html:
    """Write a label; `y` is its base line."""
    return h("text", value, x=c(x), y=c(y), cls=cls or None, text_anchor=anchor, **attrs)


def rect(x: float, y: float, w: float, hgt: float, cls: str, tip: object = None) -> Html:
    """Draw a bar; `tip` is shown when the pointer is on it."""
    size = {"width": c(max(w, 0.0)), "height": c(max(hgt, 0.0))}
    title = h("title", tip) if tip is not None else None
    return h("rect", title, x=c(x), y=c(y), cls=cls, data_tip=tip, **size)


def color(index: int | str) -> str:
    """Return the class of a colour: by number (wraps around), or by name (`muted`, `ink`)."""
    return f"c-{index}" if isinstance(index, str) else f"c{index % N_COLORS}"


def y_axis(scale: Scale, left: float, right: float, fmt: Format, label: str = "") -> Html:
    """Draw horizontal grid lines with their values, and the axis title above."""
    parts: list[Html] = []
    for tick in scale.ticks():
        y = scale(tick)
        parts.append(line(left, y, right, y, "grid"))
        parts.append(text(left - 8, y + 4, fmt(tick), "tick", anchor="end"))
    if label:
        parts.append(text(0, 12, label, "axis"))
    return join(parts)


def x_axis(scale: Scale, bottom: float, fmt: Format, label: str = "", n: int = 6) -> Html:
    """Draw the base line with tick marks and values, and the axis title at the right."""
    parts = [line(scale.start, bottom, scale.end, bottom, "base")]
    for tick in scale.ticks(n):
        x = scale(tick)
        parts.append(line(x, bottom, x, bottom + 4, "base"))
        parts.append(text(x, bottom + 18, fmt(tick), "tick", anchor="middle"))
    if label:
        parts.append(text(scale.end, bottom + 35, label, "axis", anchor="end"))
    return join(parts)


def legend(names: Sequence[tuple[str, str]]) -> Html:
    """List names with their colours, as HTML that wraps; each item is (name, class)."""
    items = [h("span", h("i", cls=f"key {cls}"), name) for name, cls in names]
    return h("div", *items, cls="legend")


def placeholder(message: str = "no data") -> Html:
    """Stand in for a chart without data."""
    return h("p", message, cls="none")


def asset(name: str) -> str:
    """Read a file of this package (style sheet, script)."""
    return (files("openseek.report") / "assets" / name).read_text(encoding="utf-8")


def standalone(svg: str) -> str:
    """Give a chart its own style, so that it can be shown outside of the report."""
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    stop = svg.rindex("</svg>") + len("</svg>")
    head = svg[start:end].replace("<svg", f'<svg xmlns="{XMLNS}"', 1)
    return f"{head}<style>{asset('chart.css')}</style>{svg[end:stop]}"


def svg_data_uri(svg: str) -> str:
    """Return the first chart in the markup as a `data:` URI, for an image in Markdown."""
    raw = standalone(svg).encode("utf-8")
    return "data:image/svg+xml;base64," + base64.b64encode(raw).decode("ascii")
