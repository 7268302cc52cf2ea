"""Scores over training: every evaluated checkpoint against the tokens it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openseek.report import fmt
from openseek.report.html import Html, figure, grid, sub
from openseek.report.plots import Series, line_chart
from openseek.report.record import Json, RunRecord, dig, mapping, rows
from openseek.report.sections.common import ALL, category_colors, finite_items
from openseek.report.sections.headline import tokens_of

CHECKPOINTS = "evaluated"
"""Key of a train step's metrics: [{step, tokens, metrics}] of its checkpoints."""


@dataclass(frozen=True)
class Point:
    """One evaluated checkpoint: tokens seen since the run began, and its metrics."""

    tokens: float
    metrics: Json


def evaluated_points(run: RunRecord) -> tuple[list[Point], list[tuple[float, float, str]]]:
    """List all evaluated checkpoints in order, and where the stages lie on the token axis."""
    before, points, spans = 0.0, [], []
    ends = {s.stage: s.metrics for s in run.of_kind("evaluate") if s.metrics}
    for train in run.of_kind("train"):
        seen = tokens_of(train.metrics)
        if seen is None:
            continue
        for at in rows(train.metrics, CHECKPOINTS):
            tokens = fmt.number(dig(at, "tokens"))
            if tokens is not None and tokens < seen:
                points.append(Point(before + tokens, mapping(at, "metrics")))
        spans.append((before, before + seen, train.stage or train.name))
        before += seen
        if train.stage in ends:
            points.append(Point(before, ends[train.stage]))
    return sorted(points, key=lambda p: p.tokens), spans


def score_curves(run: RunRecord) -> Html | None:
    """Draw bits per byte, scores and the likelihood of the right option over tokens; None if few.

    Stages are marked by their borders.
    """
    points, spans = evaluated_points(run)
    if len(points) < 2:
        return None
    charts = [
        _chart(_bits(points), spans, "Bits per byte", "held out, lower is better", percent=False),
        _chart(_headline(points), spans, "Mean score", "%", errors=_errors(points)),
        _chart(_tasks(points), spans, "Scores by task", "%"),
        _chart(_likelihood(points), spans, "Probability of the right option", "%"),
    ]
    return sub(f"Over training, {len(points)} checkpoints", grid(*charts))


Lines = dict[str, list[tuple[float, float]]]


def _chart(
    lines: Lines,
    spans: Sequence[tuple[float, float, str]],
    title: str,
    unit: str,
    *,
    percent: bool = True,
    errors: Lines | None = None,
) -> Html | None:
    if not any(len(p) > 1 for p in lines.values()):
        return None
    scale = 100.0 if percent else 1.0
    colors = category_colors(list(lines))
    series = [
        Series("", [(x, scale * y) for x, y in p], "muted", thin=True)
        for p in (errors or {}).values()
    ]
    series += [Series(n, [(x, scale * y) for x, y in p], colors[n]) for n, p in lines.items()]
    chart = line_chart(
        series,
        label=f"{title} over tokens",
        x_label="tokens seen",
        y_label=unit,
        spans=spans,
        y_format=lambda v: f"{v:.3g}",
    )
    note = "Faint: one standard error above and below." if errors else None
    return figure(title, chart, note)


def _add(lines: Lines, name: str, tokens: float, value: object) -> None:
    y = fmt.number(value)
    if y is not None:
        lines.setdefault(name, []).append((tokens, y))


def _bits(points: Sequence[Point]) -> Lines:
    lines: Lines = {}
    for p in points:
        for name, value in finite_items(mapping(p.metrics, "bpb")):
            _add(lines, name, p.tokens, value)
    return {n: v for n, v in lines.items() if n != ALL} | (
        {ALL: lines[ALL]} if ALL in lines else {}
    )


def _headline(points: Sequence[Point]) -> Lines:
    lines: Lines = {}
    for p in points:
        _add(lines, "mean", p.tokens, dig(p.metrics, "headline.value"))
    return lines


def _errors(points: Sequence[Point]) -> Lines:
    lines: Lines = {}
    for p in points:
        value = fmt.number(dig(p.metrics, "headline.value"))
        error = fmt.number(dig(p.metrics, "headline.stderr"))
        if value is not None and error is not None:
            _add(lines, "above", p.tokens, value + error)
            _add(lines, "below", p.tokens, value - error)
    return lines


def _tasks(points: Sequence[Point]) -> Lines:
    lines: Lines = {}
    for p in points:
        for row in rows(p.metrics, "scores"):
            _add(lines, str(row.get("task")), p.tokens, row.get("value"))
    if len(lines) <= 8:
        return lines
    # With many tasks the ones that moved most say most.
    moved = sorted(lines, key=lambda n: -abs(lines[n][-1][1] - lines[n][0][1]))[:8]
    return {n: lines[n] for n in lines if n in moved}


def _likelihood(points: Sequence[Point]) -> Lines:
    lines: Lines = {}
    for p in points:
        found = mapping(p.metrics, "likelihood")
        values = [_gold(v) for v in found.values()]
        known = [v for v in values if v is not None]
        if known:
            _add(lines, "mean over tasks", p.tokens, sum(known) / len(known))
    return lines


def _gold(raw: object) -> float | None:
    return fmt.number(dig(raw, "p_gold")) if isinstance(raw, Mapping) else None
