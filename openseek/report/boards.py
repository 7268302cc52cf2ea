"""The leaderboard as a page of its own: chart, rows, intervals, published scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openseek.evaluation.board_text import (
    board_rows,
    difference_text,
    mean_label,
    percent,
    plus_minus,
    side_text,
)
from openseek.report import fmt
from openseek.report.html import Html, figure, h, section, sub, table
from openseek.report.plots import grouped_bars
from openseek.report.sections.intrinsic import calibration
from openseek.report.shell import document

Json = dict[str, Any]
CLEAR = 2.0  # standard errors that a difference must exceed to be coloured


def render_board(board: Json) -> str:
    """Render a leaderboard as one HTML file that loads nothing else."""
    parts = board_parts(board)
    if (reliability := calibration(board["models"])) is not None:
        parts.append(("calibration", "Calibration", reliability))
    links = [h("a", title, href=f"#{anchor}") for anchor, title, _ in parts]
    names = ", ".join(m["name"] for m in board["models"])
    main = h(
        "main",
        h(
            "header",
            h("h1", "Leaderboard"),
            h("p", f"suite {board['suite']} · {names}"),
            h("div", *(_tile(m) for m in board["models"]), cls="tiles"),
        ),
        *(section(anchor, title, body) for anchor, title, body in parts),
        h("footer", "OpenSeek pipeline · leaderboard"),
    )
    return document("Leaderboard", links, "Leaderboard", main)


def board_parts(board: Json) -> list[tuple[str, str, Html]]:
    """Render the parts of a leaderboard: (anchor, title, content)."""
    parts = [("rows", "Scores", h("div", _chart(board), _rows(board)))]
    parts.append(("worth", "What each score is worth", _worth(board)))
    if board["published"]:
        parts.append(("published", "Published scores", _published(board)))
    return parts


def _tile(model: Json) -> Html:
    head = model["headline"]
    error = head["stderr"] if head else None
    return h(
        "div",
        h("span", model["name"]),
        h(
            "b",
            percent(head["value"]) if head else fmt.DASH,
            " ",
            h("small", f"± {percent(error)}") if error is not None else None,
        ),
        h("i", mean_label(model)),
        cls="tile",
    )


def _chart(board: Json) -> Html:
    lines = [(name, cells) for name, cells in board_rows(board) if any(cells)]
    models = board["models"]

    def column(i: int, key: str) -> list[float | None]:
        values = [cells[i].get(key) if cells[i] else None for _, cells in lines]  # type: ignore[union-attr]
        return [None if v is None else 100 * v for v in values]

    known = [next(c for c in cells if c) for _, cells in lines]
    marks = {"chance": [100 * c["chance"] if c.get("chance") is not None else None for c in known]}
    chart = grouped_bars(
        [name for name, _ in lines],
        {m["name"]: column(i, "value") for i, m in enumerate(models)},
        label="scores by row",
        y_label="%",
        y_format=lambda v: f"{v:.3g}",
        errors={m["name"]: column(i, "stderr") for i, m in enumerate(models)},
        marks=marks,
        width=1120,
        height=320,
    )
    return figure(None, h("div", chart, cls="pan"), wide=True)


def _rows(board: Json) -> Html:
    models = board["models"]
    theirs = [p for p in board["published"] if p["rows"]]
    body, foot = [], None
    for name, cells in board_rows(board):
        known: Json = next((c for c in cells if c), {})
        last = name == "mean"
        line: list[object] = [
            name, known.get("metric", ""), fmt.exact(known.get("n")),
            percent(known.get("chance"), 1) or fmt.DASH, *map(plus_minus, cells),
        ]  # fmt: skip
        for p in theirs:
            whole = {"value": p["mean"], "stderr": p["stderr"]}
            line.append(plus_minus(whole if last else p["rows"].get(name)))
        if last:
            foot = line
        else:
            body.append(line)
    head = ["row", "metric", "items", "chance"]
    head += [*(m["name"] for m in models), *(p["name"] for p in theirs)]
    return h(
        "div",
        table(head, body, text=2, foot=foot),
        h(
            "p",
            "Per cent ± one standard error. Of a mean of k rows it is the root of the summed "
            "squares over k. Published scores came without errors: theirs are estimated from the "
            "sizes of the sets. ",
            "; ".join(f"{m['name']}: {mean_label(m)}" for m in models) + ".",
            cls="note",
        ),
    )


def _worth(board: Json) -> Html:
    return h("div", *(worth_table(m) for m in board["models"]))


def worth_table(model: Json) -> Html | None:
    """Show a model's intervals, smallest detectable differences, clean and flagged items."""
    cells = {**model["rows"], **model["others"]}
    split = any("clean" in c for c in cells.values())
    head = ["row", "score, %", "95 % interval", "smallest difference that shows"]
    head += ["clean items", "flagged items", "difference"] if split else []
    body = [_worth_row(name, c, split) for name, c in cells.items()]
    foot = _worth_row("mean", model["headline"], split) if model["headline"] else None
    if not body:
        return None
    return sub(model["name"], table(head, body, foot=foot))


def _worth_row(name: str, c: Json, split: bool) -> list[object]:
    bounds = f"{percent(c['low'], 1)} to {percent(c['high'], 1)}" if c["low"] is not None else None
    row: list[object] = [name, percent(c["value"]), bounds, percent(c["detectable"]) or None]
    if split:
        clean, flagged = c.get("clean"), c.get("flagged")
        row += [side_text(clean) or None, side_text(flagged) or None]
        gap = (
            fmt.signed(100 * (flagged["value"] - clean["value"]), 1) if clean and flagged else None
        )
        row.append(gap)
    return row


def _published(board: Json) -> Html:
    body = [
        [
            p["name"],
            plus_minus({"value": p["mean"], "stderr": p["stderr"]}),
            p["about"],
            p["source"],
        ]
        for p in board["published"]
    ]
    head = ["published", "headline, %", "what", "source"]
    return h(
        "div",
        table(head, body, text=(0, 2, 3)),
        _against(board["against"]),
    )


def _against(found: Sequence[Json]) -> Html | None:
    if not found:
        return None
    body = []
    for a in found:
        error = a["stderr"]
        clear = error is not None and abs(a["difference"]) > CLEAR * error
        cls = "flat" if not clear else "up" if a["difference"] > 0 else "down"
        told = h("span", difference_text(a), cls=cls)
        body.append([a["model"], a["published"], told, f"{a['rows']} of {a['of']}"])
    head = ["model", "against", "difference, points", "over rows"]
    return sub(
        "Differences to published scores",
        table(head, body, text=2),
        h(
            "p",
            f"Coloured where it exceeds {CLEAR:.0f} standard errors. Taken over the rows that both "
            "have; other items and formats than the published ones make it a hint, not a result.",
            cls="note",
        ),
    )
