"""Markup that is safe by construction: whatever is not `Html` gets escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

WIDE, NARROW = 1120.0, 560.0  # widths of a chart over the whole page, in user units
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
VOID = frozenset({"br", "hr", "meta", "link", "input", "img", "col"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def esc(value: object) -> Html:
    """Turn any value into markup; control characters, which no parser accepts, become U+FFFD."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def h(tag: str, *children: Any, **attrs: Any) -> Html:
    """Build an element: `h("td", 3, cls="num", data_tip="three")`.

    `cls` stands for `class`, a trailing underscore is dropped (`for_`), other underscores become
    hyphens. Attributes that are None or False are left out; True gives a bare attribute.
    """
    parts = [f"<{tag}"]
    for name, value in attrs.items():
        if value is None or value is False:
            continue
        name = "class" if name == "cls" else name.rstrip("_").replace("_", "-")
        parts.append(f" {name}" if value is True else f' {name}="{esc(value)}"')
    parts.append(">")
    if tag not in VOID:
        parts.append(join(children))
        parts.append(f"</{tag}>")
    return Html("".join(parts))


def join(children: Iterable[Any], separator: str = "") -> Html:
    """Escape and concatenate; None is nothing, lists are flattened."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, list | tuple):
            parts.append(join(child, separator))
        else:
            parts.append(esc(child))
    return Html(separator.join(parts))


def table(
    head: Sequence[object],
    body: Iterable[Sequence[object]],
    *,
    text: int | Sequence[int] = 1,
    foot: Sequence[object] | None = None,
    caption: object = None,
) -> Html:
    """Build a table whose figures are aligned to the right.

    Args:
        head: Column titles.
        body: Rows of cells.
        text: The columns that hold text: how many at the left, or their indices.
        foot: A last row, set apart.
        caption: What the table shows.
    """
    words = set(range(text)) if isinstance(text, int) else set(text)

    def cell(tag: str, i: int, value: object) -> Html:
        return h(tag, "–" if value is None else value, cls=None if i in words else "n")

    lines = [h("tr", [cell("td", i, v) for i, v in enumerate(row)]) for row in body]
    tail = h("tfoot", h("tr", [cell("td", i, v) for i, v in enumerate(foot)])) if foot else None
    inner = h(
        "table",
        h("caption", caption) if caption else None,
        h("thead", h("tr", [cell("th", i, v) for i, v in enumerate(head)])),
        h("tbody", lines),
        tail,
        cls="slim" if len(head) <= 5 else None,
    )
    return h("div", inner, cls="scroll", tabindex=0)


def fold(summary: object, *children: Any, open_: bool = False) -> Html:
    """Build a part that is folded away until it is asked for."""
    return h("details", h("summary", summary), *children, open=open_)


def section(anchor: str, title: str, *children: Any, lead: object = None) -> Html:
    """Build a section; one without children says that it was not part of this run."""
    content = _present(children)
    if not content:
        content = [h("p", "Not part of this run.", cls="none")]
    return h(
        "section",
        h("h2", title),
        h("p", lead, cls="lead") if lead and children else None,
        *content,
        id=anchor,
    )


def figure(title: object | None, chart: object, note: object = None, *, wide: bool = False) -> Html:
    """Build a figure with a title above and, if given, a note below."""
    return h(
        "figure",
        h("figcaption", title) if title else None,
        chart,
        h("p", note, cls="note") if note else None,
        cls="wide" if wide else None,
    )


def two_sizes(draw: Callable[[float], Html]) -> Html:
    """Draw a chart for wide and for narrow windows; the style sheet shows the one that fits.

    Args:
        draw: Draws it at a width, in user units.
    """
    return h("div", h("div", draw(WIDE), cls="on-wide"), h("div", draw(NARROW), cls="on-narrow"))


def grid(*figures: Any) -> Html | None:
    """Set figures side by side where there is room; None without any."""
    found = [f for f in figures if f is not None]
    return h("div", *found, cls="grid") if found else None


def sub(title: object, *children: Any) -> Html | None:
    """Build a part of a section with a heading; None without content."""
    content = _present(children)
    return h("div", h("h3", title), *content, cls="part") if content else None


def _present(children: Iterable[Any]) -> list[Any]:
    found = [
        [x for x in c if x is not None] if isinstance(c, list | tuple) else c for c in children
    ]
    return [c for c in found if c is not None and c != "" and c != []]
