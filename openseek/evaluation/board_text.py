"""A leaderboard as text: Markdown, LaTeX, CSV and JSON. Scores in per cent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
STEM = "leaderboard"
COLUMNS = (
    "model", "row", "metric", "score", "stderr", "low", "high", "detectable", "chance", "items",
    "clean", "clean_items", "flagged", "flagged_items", "source",
)  # fmt: skip


def write_board(board: Json, folder: Path, html: str | None = None) -> list[Path]:
    """Write leaderboard.json, .md, .tex, .csv and, if it was rendered, .html.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, make in FORMATS.items():
        path = folder / f"{STEM}.{suffix}"
        path.write_text(make(board), encoding="utf-8")
        written.append(path)
    if html is not None:
        path = folder / f"{STEM}.html"
        path.write_text(html, encoding="utf-8")
        written.append(path)
    return written


def board_json(board: Json) -> str:
    """Dump the board."""
    return json.dumps(board, ensure_ascii=False, indent=1) + "\n"


def board_rows(board: Json) -> list[tuple[str, list[Json | None]]]:
    """List the board's rows in order: (name, cell of each model); the headline comes last."""
    models = board["models"]
    names = list(dict.fromkeys(r for m in models for r in (*m["rows"], *m["missing"])))
    wanted = [r for r in _suite_order(board) if r in names]
    others = list(dict.fromkeys(t for m in models for t in m["others"]))
    lines = [(row, [m["rows"].get(row) for m in models]) for row in wanted]
    lines += [(task, [m["others"].get(task) for m in models]) for task in others]
    return [*lines, ("mean", [m["headline"] for m in models])]


def _suite_order(board: Json) -> list[str]:
    from openseek.evaluation.leaderboard import suite_rows

    return list(suite_rows(board["suite"]))


def percent(value: float | None, digits: int = 2) -> str:
    """Print a fraction as per cent; nothing for None."""
    return "" if value is None else f"{100 * value:.{digits}f}"


def plus_minus(cell: Mapping[str, Any] | None, sign: str = "±") -> str:
    """Print a score with its standard error."""
    if cell is None:
        return "–"
    error = cell.get("stderr")
    return percent(cell["value"]) + (f" {sign} {percent(error)}" if error is not None else "")


def mean_label(model: Json) -> str:
    """Say of how many rows the headline is a mean: it must never look more complete than it is."""
    head = model["headline"]
    return f"mean of {head['rows']} of {head['of']}" if head else "no row"


def board_markdown(board: Json) -> str:
    """Write the board as Markdown: scores, what each is worth, and the published ones."""
    models, published = board["models"], board["published"]
    names = [m["name"] for m in models]
    theirs = [p for p in published if p["rows"]]
    lines = _markdown_table(
        ["row", "metric", "items", "chance", *names, *(p["name"] for p in theirs)],
        [_markdown_row(name, cells, theirs, models) for name, cells in board_rows(board)],
        text=2,
    )
    parts = [
        f"# Leaderboard, suite {board['suite']}",
        "Per cent ± one standard error; "
        + ", ".join(f"{m['name']}: {mean_label(m)}" for m in models)
        + ". Errors of published scores are estimated from the sizes of the sets.",
        lines,
        *(_worth(m) for m in models),
        _published(published),
        _against(board),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _markdown_row(
    name: str, cells: Sequence[Json | None], theirs: Sequence[Json], models: Sequence[Json]
) -> list[str]:
    known = next((c for c in cells if c), {})
    last = name == "mean"
    values = [plus_minus(c) for c in cells]
    for entry in theirs:
        whole = {"value": entry["mean"], "stderr": entry["stderr"]}
        values.append(plus_minus(whole if last else entry["rows"].get(name)))
    shown = [name, known.get("metric", ""), _count(known.get("n")), percent(known.get("chance"), 1)]
    return [f"**{x}**" if last and x else x for x in [*shown, *values]]


def _count(n: float | None) -> str:
    return "" if n is None else f"{n:.0f}"


def _worth(model: Json) -> str:
    """Show intervals and the smallest detectable difference, and clean and flagged items."""
    cells = {**model["rows"], **model["others"]}
    if model["headline"]:
        cells["mean"] = model["headline"]
    if not cells:
        return ""
    split = any("clean" in c for c in cells.values())
    head = ["row", "score", "95 % interval", "smallest difference that shows"]
    head += ["clean items", "flagged items"] if split else []
    body = []
    for name, c in cells.items():
        bounds = f"{percent(c['low'])} to {percent(c['high'])}" if c["low"] is not None else ""
        row = [name, percent(c["value"]), bounds, percent(c["detectable"])]
        row += [side_text(c.get(side)) for side in ("clean", "flagged")] if split else []
        body.append(row)
    return f"## {model['name']}\n\n{_markdown_table(head, body, text=1)}"


def side_text(cell: Mapping[str, Any] | None) -> str:
    """Print a score on a part of the items, with their number."""
    return "" if not cell else f"{plus_minus(cell)} (n={cell['n']})"


def _published(entries: Sequence[Json]) -> str:
    if not entries:
        return ""
    body = [
        [
            p["name"],
            plus_minus({"value": p["mean"], "stderr": p["stderr"]}),
            p["about"],
            p["source"],
        ]
        for p in entries
    ]
    head = ["published", "headline", "what", "source"]
    return "## Published\n\n" + _markdown_table(head, body, text=(0, 2, 3))


def _against(board: Json) -> str:
    if not board["against"]:
        return ""
    body = [
        [a["model"], a["published"], difference_text(a), f"{a['rows']} of {a['of']}"]
        for a in board["against"]
    ]
    head = ["model", "against", "difference, points", "over rows"]
    return "## Differences to published scores\n\n" + _markdown_table(head, body, text=2)


def difference_text(a: Mapping[str, Any]) -> str:
    """Print a difference in points, with its standard error."""
    text = f"{100 * a['difference']:+.2f}"
    return text + (f" ± {percent(a['stderr'])}" if a["stderr"] is not None else "")


def _markdown_table(
    head: Sequence[str], body: Sequence[Sequence[str]], text: int | Sequence[int]
) -> str:
    words = set(range(text)) if isinstance(text, int) else set(text)
    rule = ["---" if i in words else "---:" for i in range(len(head))]
    lines = [[str(c).replace("|", "\\|").replace("\n", " ") for c in row] for row in (head, *body)]
    lines.insert(1, rule)
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex(text: object) -> str:
    """Escape what LaTeX takes for a command."""
    return "".join(LATEX.get(c, c) for c in str(text))


def board_latex(board: Json) -> str:
    """Write the board as a booktabs table, ready for a paper."""
    models, theirs = board["models"], [p for p in board["published"] if p["rows"]]
    names = [*(m["name"] for m in models), *(p["name"] for p in theirs)]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{lr{'r' * len(names)}}}",
        "\\toprule",
        " & ".join(["row", "chance", *map(latex, names)]) + r" \\",
        "\\midrule",
    ]
    for name, cells in board_rows(board):
        known = next((c for c in cells if c), {})
        last = name == "mean"
        values = [_latex_cell(c) for c in cells]
        for p in theirs:
            whole = {"value": p["mean"], "stderr": p["stderr"]}
            values.append(_latex_cell(whole if last else p["rows"].get(name)))
        if last:
            lines.append("\\midrule")
        row = [latex(name), percent(known.get("chance"), 1), *values]
        lines.append(" & ".join(row) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    heads = "; ".join(f"{latex(m['name'])}: {mean_label(m)}" for m in models)
    lines.append(f"% suite {board['suite']}; {heads}; per cent, one standard error below")
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "--"
    error = cell.get("stderr")
    return f"${percent(cell['value'])}" + (f"_{{\\pm {percent(error)}}}$" if error else "$")


def board_csv(board: Json) -> str:
    """Write the board long: a line for each model and row, published ones with their source."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for m in board["models"]:
        cells = {**m["rows"], **m["others"]}
        if m["headline"]:
            cells["mean"] = m["headline"]
        for row, c in cells.items():
            writer.writerow(_csv_line(m["name"], row, c))
    for p in board["published"]:
        cells = {**p["rows"], "mean": {"value": p["mean"], "stderr": p["stderr"]}}
        for row, c in cells.items():
            writer.writerow({**_csv_line(p["name"], row, c), "source": p["source"]})
    return out.getvalue()


def _csv_line(model: str, row: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "model": model, "row": row, "metric": cell.get("metric", ""),
        "score": percent(cell["value"], 4), "items": _count(cell.get("n")),
    }  # fmt: skip
    for key in ("stderr", "low", "high", "detectable", "chance"):
        line[key] = percent(cell.get(key), 4)
    for side in ("clean", "flagged"):
        part = cell.get(side) or {}
        line[side] = percent(part.get("value"), 4)
        line[f"{side}_items"] = _count(part.get("n"))
    return line


FORMATS: dict[str, Callable[[Json], str]] = {
    "json": board_json, "md": board_markdown, "tex": board_latex, "csv": board_csv,
}  # fmt: skip
