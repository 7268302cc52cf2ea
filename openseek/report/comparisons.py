"""A paired comparison of two evaluations, as Markdown and as a page with its items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, fold, h, section, table
from openseek.report.markdown import table as markdown_table
from openseek.report.sections.items import browser
from openseek.report.shell import document

Json = dict[str, Any]
STEM = "comparison"
FOUND = 0.05  # q below which a difference is called found
NOTE = (
    "Per cent; differences in points, with the 95 % interval of a paired bootstrap. p: McNemar's "
    "exact test on the items that flipped; q: the same adjusted over all tasks after Benjamini and "
    "Hochberg. † marks a q under 0.05: of such findings at most one in twenty is expected to be "
    "false."
)


def write_comparison(found: Json, sample: Json, folder: Path) -> list[Path]:
    """Write comparison.json, .md and .html.

    Args:
        found: What `openseek.evaluation.comparison.compare` returns.
        sample: Items for the page, from `openseek.evaluation.browse.sample_items`.
        folder: Where to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "json": json.dumps(found, ensure_ascii=False, indent=1) + "\n",
        "md": comparison_markdown(found) + "\n",
        "html": render_comparison(found, sample),
    }
    written = []
    for suffix, text in content.items():
        path = folder / f"{STEM}.{suffix}"
        path.write_text(text, encoding="utf-8", errors="replace")
        written.append(path)
    return written


def comparison_markdown(found: Json) -> str:
    """Write the comparison as Markdown."""
    head = [*_head(found)]
    body = [_line(row) for row in found["tasks"]]
    parts = [f"# {found['second']} against {found['first']}", _summary(found)]
    parts += [markdown_table(head, body, text=2), NOTE]
    if found["not_compared"]:
        parts.append("Only one of them has: " + ", ".join(found["not_compared"]) + ".")
    return "\n\n".join(p for p in parts if p)


def render_comparison(found: Json, sample: Json) -> str:
    """Render the comparison and its items as one HTML file that loads nothing else."""
    title = f"{found['second']} against {found['first']}"
    sections: list[tuple[str, str, Html | None]] = [
        ("tasks", "Differences", _tasks(found)),
        ("items", "Items", browser(sample)),
    ]
    links = [h("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    main = h(
        "main",
        h("header", h("h1", title), h("p", _summary(found))),
        *(section(anchor, name, body) for anchor, name, body in sections),
        h("footer", "OpenSeek pipeline · comparison"),
    )
    return document(title, links, "Comparison", main, ["items.js"])


def _head(found: Json) -> list[str]:
    names = [found["first"], found["second"]]
    return ["task", "metric", "items", *names, "difference", "95 % interval", "+", "-", "p", "q"]


def _summary(found: Json) -> str:
    head = found["headline"]
    if head is None:
        return "No row of the suite can be filled."
    error = f" ± {_points(head['stderr'])}" if head["stderr"] is not None else ""
    return (
        f"Mean of {head['rows']} of {head['of']} rows: {_points(head['first'])} to "
        f"{_points(head['second'])}, difference {fmt.signed(100 * head['difference'])}{error} "
        f"points, 95 % interval {_interval(head)}, p = {_p(head['p'])}."
    )


def _line(row: Json) -> list[str]:
    sure = " †" if row["q"] < FOUND else ""
    return [
        row["task"], row["metric"], fmt.exact(row["n"]), _points(row["first"]),
        _points(row["second"]), fmt.signed(100 * row["difference"]) + sure, _interval(row),
        str(len(row["gained"])), str(len(row["lost"])), _p(row["mcnemar"]), _p(row["q"]),
    ]  # fmt: skip


def _points(value: float) -> str:
    return f"{100 * value:.2f}"


def _interval(row: Json) -> str:
    return f"{fmt.signed(100 * row['low'])} to {fmt.signed(100 * row['high'])}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _tasks(found: Json) -> Html:
    body = []
    for row in found["tasks"]:
        cells: list[object] = [*_line(row)]
        better = row["difference"] > 0
        cls = "flat" if row["q"] >= FOUND else "up" if better else "down"
        cells[5] = h("span", cells[5], cls=cls)
        body.append(cells)
    only = found["not_compared"]
    return h(
        "div",
        table(_head(found), body, text=2),
        h("p", NOTE, cls="note"),
        _flipped(found),
        h("p", "Only one of them has: " + ", ".join(only) + ".", cls="note") if only else None,
    )


def _flipped(found: Json) -> Html | None:
    body = [
        [row["task"], ", ".join(row["gained"]) or fmt.DASH, ", ".join(row["lost"]) or fmt.DASH]
        for row in found["tasks"]
        if row["gained"] or row["lost"]
    ]
    if not body:
        return None
    return fold("Items that flipped", table(["task", "gained", "lost"], body, text=3))
