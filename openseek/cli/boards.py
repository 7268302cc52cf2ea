"""`openseek leaderboard` and `openseek compare`: several evaluations side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from openseek.cli.layers import AsJson

Folders = Annotated[
    list[str],
    typer.Argument(help="Folders that `openseek eval` wrote; NAME=FOLDER gives a name of yours."),
]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder to write; none: only print.")]
Matches = Annotated[
    Path | None,
    typer.Option(help="contamination.jsonl of decontamination: scores of clean and flagged items."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("leaderboard")(leaderboard)
    app.command("compare")(compare)


def leaderboard(
    folders: Folders,
    out: OutFolder = None,
    suite: Annotated[str, typer.Option(help="Suite of the rows; empty: the evaluation's.")] = "",
    contamination: Matches = None,
    json_: AsJson = False,
) -> None:
    """Set evaluations beside each other and the published scores, with error bars."""
    board = board_of(folders, suite, contamination)
    files = write(board, out) if out else []
    if json_:
        print(json.dumps({**board, "files": files}, ensure_ascii=False))
        return
    print_board(board)
    for name in files:
        print(f"wrote {name}")


def compare(
    first: Annotated[str, typer.Argument(help="Folder of the evaluation to compare with.")],
    second: Annotated[str, typer.Argument(help="Folder of the evaluation of interest.")],
    out: OutFolder = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    items: Annotated[int, typer.Option(help="Most items that the page shows.", min=1)] = 400,
    resamples: Annotated[int, typer.Option(help="Draws of the bootstrap.", min=100)] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json_: AsJson = False,
) -> None:
    """Compare two evaluations on the same items: paired differences, tests, items that flipped."""
    from openseek.evaluation import comparison
    from openseek.evaluation.browse import sample_items
    from openseek.report.comparisons import comparison_markdown, write_comparison

    pair = open_evaluation(first), open_evaluation(second)
    names = task or []
    suite = (pair[1].metrics.get("headline") or {}).get("suite") or "demo"
    found = comparison.compare(*pair, tasks=names, suite=suite, resamples=resamples, seed=seed)
    files: list[str] = []
    if out:
        tasks = [row["task"] for row in found["tasks"]]
        sample = sample_items(pair, limit=items, tasks=tasks)
        files = [str(path) for path in write_comparison(found, sample, out)]
    if json_:
        print(json.dumps({**found, "files": files}, ensure_ascii=False))
        return
    print(comparison_markdown(found))
    for name in files:
        print(f"wrote {name}")


def board_of(folders: list[str], suite: str = "", contamination: Path | None = None) -> Any:
    """Build the board of evaluation folders, given as FOLDER or NAME=FOLDER."""
    from openseek.errors import ConfigError
    from openseek.evaluation.board import build_board
    from openseek.evaluation.contamination import read_flagged
    from openseek.evaluation.leaderboard import suites

    if suite and suite not in (*suites(), "demo"):
        known = ", ".join((*suites(), "demo"))
        raise ConfigError(f"unknown suite {suite!r}", where="--suite", mend=f"Choose of {known}.")
    evaluations = [open_evaluation(f) for f in folders]
    tasks = {t for e in evaluations for t in e.scores}
    flagged = read_flagged(contamination, tasks) if contamination else None
    return build_board(evaluations, suite=suite, flagged=flagged)


def write_own(out: Path, name: str) -> None:
    """Write the leaderboard of one evaluation beside its scores."""
    from openseek.evaluation.board import build_board
    from openseek.evaluation.results import load_evaluation

    write(build_board([load_evaluation(out, name)]), out)


def open_evaluation(text: str) -> Any:
    """Open FOLDER or NAME=FOLDER."""
    from openseek.evaluation.results import load_evaluation

    name, equals, folder = text.partition("=")
    if equals and not Path(text).is_dir():
        return load_evaluation(folder, name)
    return load_evaluation(text)


def write(board: Any, out: Path) -> list[str]:
    """Write a board in all its forms; returns the files."""
    from openseek.evaluation.board_text import write_board
    from openseek.report.boards import render_board

    return [str(path) for path in write_board(board, out, render_board(board))]


def print_board(board: Any) -> None:
    """Print a board as tables."""
    from openseek.cli.tables import console, table
    from openseek.evaluation.board_text import (
        board_rows,
        difference_text,
        mean_label,
        percent,
        plus_minus,
    )

    models = board["models"]
    rows = []
    for name, cells in board_rows(board):
        known = next((c for c in cells if c), {})
        label = f"{name} ({known['metric']})" if known.get("metric") else name
        line = [label, f"{known['n']:.0f}" if known else "", percent(known.get("chance"), 1)]
        rows.append([*line, *map(plus_minus, cells), percent(known.get("detectable"), 1)])
    head = ["row, % ± one standard error", "items", "chance", *(m["name"] for m in models)]
    table([*head, "smallest difference"], rows, title=f"suite {board['suite']}")
    for m in models:
        console.print(f"{m['name']}: {mean_label(m)}", soft_wrap=True)
        if m["missing"]:
            console.print(f"  missing: {', '.join(m['missing'])}", soft_wrap=True)
    if board["against"]:
        console.print()
        against = [
            [f"{a['model']} - {a['published']}", difference_text(a), f"{a['rows']} of {a['of']}"]
            for a in board["against"]
        ]
        table(["difference to published, points", "", "over rows"], against)
