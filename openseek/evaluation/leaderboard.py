"""The challenge's headline: which rows it averages, and what was published for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from openseek.errors import PermanentError
from openseek.evaluation.summary import group_mean

Json = dict[str, Any]
FULL = "openseek-12"


@functools.cache
def _data() -> Json:
    import yaml

    text = resources.files("openseek.evaluation").joinpath("leaderboard.yaml").read_text("utf-8")
    data: Json = yaml.safe_load(text)
    return data


def suites() -> tuple[str, ...]:
    """Name the suites whose rows are all required."""
    return tuple(_data()["suites"])


def suite_rows(suite: str = FULL) -> dict[str, list[str]]:
    """Return a suite's rows: name -> tasks whose mean it is; those of openseek-12 for `demo`."""
    named: dict[str, dict[str, list[str]]] = _data()["suites"]
    return named.get(suite, named[FULL])


def published() -> list[Json]:
    """Return the published scores, in percent: name, about, source, mean and, where known, rows."""
    entries: list[Json] = _data()["published"]
    return entries


def set_sizes() -> dict[str, list[int]]:
    """Return how many items the sets of each row have: one number for each task of the row."""
    sizes: dict[str, list[int]] = _data()["sizes"]
    return sizes


def missing_rows(tasks: Sequence[str], suite: str = FULL) -> dict[str, list[str]]:
    """Return the rows that these tasks cannot fill, with what each lacks."""
    lacking = {row: [t for t in need if t not in tasks] for row, need in suite_rows(suite).items()}
    return {row: need for row, need in lacking.items() if need}


def require_full_suite(tasks: Sequence[str], suite: str = FULL) -> None:
    """Refuse to compute the headline without all of its rows.

    Raises:
        PermanentError: A row has no data; it is never counted as zero.
    """
    lacking = missing_rows(tasks, suite)
    if lacking:
        named = ", ".join(f"{row} ({', '.join(need)})" for row, need in lacking.items())
        raise PermanentError(
            f"the suite {suite} lacks {named}",
            where="evaluation.suite",
            mend="Give their data in benchmarks.folder (or benchmarks.hub=true) and name them in "
            "benchmarks.tasks, or set evaluation.suite=demo for the rows that are there.",
        )


def row_scores(
    scores: Sequence[Mapping[str, Any]], suite: str = FULL
) -> dict[str, tuple[float, float | None]]:
    """Fill the rows that task scores can fill: row -> (value, standard error)."""
    by_task = {s["task"]: (s["value"], s["stderr"]) for s in scores}
    lacking = missing_rows(list(by_task), suite)
    return {
        row: group_mean([by_task[t] for t in tasks])
        for row, tasks in suite_rows(suite).items()
        if row not in lacking
    }


def headline(rows: Mapping[str, tuple[float, float | None]], suite: str = FULL) -> Json | None:
    """Average rows without weights.

    Args:
        rows: Row -> (value, standard error).
        suite: openseek-12 and its like require every row; demo takes those of openseek-12 that
            are there and names the rest.

    Returns:
        value, stderr, rows {name: {value, stderr}}, missing [names], complete; None without a row.

    Raises:
        PermanentError: A row of the full suite is missing.
    """
    wanted = suite_rows(suite)
    missing = [row for row in wanted if row not in rows]
    if suite in suites() and missing:
        raise PermanentError(
            f"the headline needs all {len(wanted)} rows, {', '.join(missing)} missing", where=suite
        )
    used = {row: rows[row] for row in wanted if row in rows}
    if not used:
        return None
    value, error = group_mean(list(used.values()))
    return {
        "suite": suite,
        "value": value,
        "stderr": error,
        "rows": {row: {"value": v, "stderr": e} for row, (v, e) in used.items()},
        "missing": missing,
        "complete": not missing,
    }
