"""Curves of the training stages, one after another over the tokens seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, join, section, sub, table, two_sizes
from openseek.report.plots import Series, heatmap, line_chart
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping, rows
from openseek.report.scales import Point, smooth
from openseek.report.sections.common import category_colors, finite_items
from openseek.report.sections.headline import tokens_of

HEAT_COLUMNS = 48


@dataclass(frozen=True)
class Curves:
    """All stages' logs on one axis.

    Attributes:
        rows: (tokens seen since the first stage, row of the log).
        spans: (from, to, stage) in tokens.
    """

    rows: list[tuple[float, Json]]
    spans: list[tuple[float, float, str]]

    def line(self, *paths: str) -> list[Point]:
        """Return the points of one figure, without the rows that lack it."""
        found = []
        for x, row in self.rows:
            y = fmt.number(dig(row, *paths))
            if y is not None:
                found.append((x, y))
        return found

    def under(self, key: str, name: str) -> list[Point]:
        """Return the points of one entry of a mapping; its name may have dots."""
        found = [(x, fmt.number(mapping(row, key).get(name))) for x, row in self.rows]
        return [(x, y) for x, y in found if y is not None]

    def smooth(self, points: list[Point], share: float) -> list[Point]:
        """Average over a window within each stage: a stage's start is a real jump."""
        window = share * sum(end - start for start, end, _ in self.spans)
        found: list[Point] = []
        for start, end, _ in self.spans:
            part = [p for p in points if start < p[0] <= end]
            found += smooth(part, window / (end - start)) if end > start else part
        return found or points

    def keys(self, *paths: str) -> list[str]:
        """List the names below a mapping in the rows, numbers in their order."""
        found = dict.fromkeys(k for _, row in self.rows for k in mapping(row, *paths))
        return sorted(found, key=natural)


def natural(name: str) -> list[Any]:
    """Sort key that reads numbers as numbers: layer 2 before layer 10."""
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"(\d+)", name) if p]


def read_curves(steps: list[StepRecord]) -> Curves:
    """Put the stages' logs one after another; each counts its tokens from zero."""
    before, found, spans = 0.0, [], []
    for step in steps:
        log = rows(step.metrics, "curve", "log")
        at = [fmt.number(dig(r, "tokens", "tokens_seen", "step")) for r in log]
        known = [x for x in at if x is not None]
        # A log that already counts over all stages goes on where the last one stopped.
        shift = 0.0 if known and before and min(known) >= before else before
        found += [(x + shift, r) for x, r in zip(at, log, strict=True) if x is not None]
        if known:
            end = max(known) + shift
            spans.append((before, end, step.stage or step.name))
            before = end
    return Curves(found, spans)


def training(run: RunRecord) -> Html:
    """Render loss, learning rate, gradient norm, expert load and speed."""
    steps = [s for s in run.of_kind("train") if s.metrics]
    if not steps:
        return section("training", "Training")
    curves = read_curves(steps)
    return section(
        "training",
        "Training",
        _loss(run, curves),
        grid(
            _categories(curves),
            _plain(curves, "Learning rate", "lr", "per optimizer step"),
            _norm(curves),
            _load(curves),
        ),
        grid(
            _load_map(
                curves, "expert_load", "Expert load by layer over training", "max / mean", 1.0
            )
        ),
        _experts(steps),
        sub("By stage", _table(steps)),
        _skipped(steps),
    )


def _loss(run: RunRecord, curves: Curves) -> Html | None:
    points = curves.line("parts.ce", "loss")
    if not points:
        return None
    entropy = _entropy(run)
    lines = [(entropy, f"unigram {entropy:.2f}")] if entropy is not None else []
    smoothed = curves.smooth(points, 0.03)
    chart = two_sizes(
        lambda width: line_chart(
            [
                Series("raw", points, 0, thin=True),
                Series(f"loss {smoothed[-1][1]:.2f}", smoothed, 0),
            ],
            label="training loss over tokens",
            x_label="tokens seen",
            y_label="nats per token",
            references=lines,
            spans=curves.spans,
            y_format=lambda v: f"{v:.3g}",
            width=width,
            height=380 if width > 600 else 290,
        )
    )
    note = "Faint: every step; strong: a running mean over 3 % of training."
    if lines:
        note += (
            " Dashed: the entropy of the token frequencies, which a model that knows nothing "
            "but them would reach."
        )
    return figure("Loss", chart, note, wide=True)


def _entropy(run: RunRecord) -> float | None:
    return fmt.number(dig(run.metrics("tokenise"), "unigram_nats_per_token", "unigram_entropy"))


def _categories(curves: Curves) -> Html | None:
    names = curves.keys("by_category")
    if not names:
        return None
    colors = category_colors(names)
    series = [
        Series(n, curves.smooth(curves.under("by_category", n), 0.08), colors[n]) for n in names
    ]
    chart = line_chart(
        series,
        label="loss by category",
        x_label="tokens seen",
        y_label="nats per token",
        spans=curves.spans,
        y_format=lambda v: f"{v:.3g}",
    )
    return figure("Loss by category", chart, "Running mean over 8 % of training.")


def _plain(curves: Curves, title: str, key: str, unit: str) -> Html | None:
    points = curves.line(key)
    if not points:
        return None
    chart = line_chart(
        [Series("", points, 0)],
        label=title,
        x_label="tokens seen",
        y_label=unit,
        spans=curves.spans,
        zero=True,
    )
    return figure(title, chart)


def _norm(curves: Curves) -> Html | None:
    points = curves.line("grad_norm")
    if not points:
        return None
    series = [Series("raw", points, 2, thin=True), Series("", curves.smooth(points, 0.05), 2)]
    values = [y for _, y in points if y > 0]
    wide = bool(values) and max(values) > 30 * min(values)
    chart = line_chart(
        series,
        label="gradient norm",
        x_label="tokens seen",
        y_label="L2 norm before clipping" + (", log scale" if wide else ""),
        spans=curves.spans,
        log_y=wide,
        zero=not wide,
    )
    return figure("Gradient norm", chart)


def _load(curves: Curves) -> Html | None:
    layers = curves.keys("expert_load")
    if not layers:
        return None
    series = [
        Series(_short(n), curves.smooth(curves.under("expert_load", n), 0.05), i)
        for i, n in enumerate(layers[:8])
    ]
    chart = line_chart(
        series,
        label="expert load",
        x_label="tokens seen",
        y_label="busiest expert / mean",
        spans=curves.spans,
        y_format=lambda v: f"{v:.3g}",
        references=[(1.0, "balanced")],
    )
    return figure(
        "Expert load", chart, "1 is perfect balance; the router's bias is what pushes it there."
    )


def _short(layer: str) -> str:
    numbers = re.findall(r"\d+", layer)
    return f"layer {numbers[0]}" if numbers and not layer.startswith("mtp") else layer


def _load_map(curves: Curves, key: str, title: str, unit: str, middle: float) -> Html | None:
    layers = curves.keys(key)
    if len(layers) < 2 or len(curves.rows) < 8:
        return None
    n = min(HEAT_COLUMNS, len(curves.rows))
    buckets = [
        curves.rows[i * len(curves.rows) // n : (i + 1) * len(curves.rows) // n] for i in range(n)
    ]
    cells = []
    for layer in layers:
        row: list[float | None] = []
        for bucket in buckets:
            values = [
                v for _, r in bucket if (v := fmt.number(mapping(r, key).get(layer))) is not None
            ]
            row.append(sum(values) / len(values) if values else None)
        cells.append(row)
    names = [fmt.compact(bucket[-1][0]) for bucket in buckets]
    chart = two_sizes(
        lambda width: heatmap(
            cells,
            rows=[_short(x) for x in layers],
            columns=names,
            label=title,
            x_label="tokens seen",
            fmt=lambda v: f"{v:.2f}",
            middle=middle,
            width=width,
        )
    )
    return figure(
        title, chart, f"Busiest expert over the mean ({unit}); darker is less balanced.", wide=True
    )


def _experts(steps: list[StepRecord]) -> Html | None:
    """Show the load of every expert at the end of the last stage, where the step tells it."""
    last = steps[-1].metrics
    load = {
        k: v
        for k, v in mapping(last, "expert_counts", "expert_share", "expert_load_by_expert").items()
        if isinstance(v, list)
    }
    if not load:
        return None
    layers = sorted(load, key=natural)
    cells = []
    for layer in layers:
        values = [fmt.number(v) or 0.0 for v in load[layer]]
        mean = sum(values) / len(values) if values else 0.0
        cells.append([v / mean if mean else None for v in values])
    width = max(len(r) for r in cells)
    chart = two_sizes(
        lambda size: heatmap(
            cells,
            rows=[_short(x) for x in layers],
            columns=list(range(width)),
            label="load of each expert",
            x_label="expert",
            fmt=lambda v: f"{v:.2f} of the mean",
            middle=1.0,
            width=size,
        )
    )
    return grid(
        figure(
            "Load of each expert at the end", chart, "Blue: above the mean; red: below.", wide=True
        )
    )


def _table(steps: list[StepRecord]) -> Html:
    body = []
    for s in steps:
        m = s.metrics
        body.append(
            [
                s.stage or s.name,
                fmt.exact(dig(m, "steps", "n_steps")),
                fmt.exact(tokens_of(m)),
                fmt.fixed(dig(m, "loss_first"), 3),
                fmt.fixed(dig(m, "loss_tail", "loss_last"), 3),
                fmt.fixed(dig(m, "grad_norm_tail"), 2),
                _worst(mapping(m, "expert_load_tail")),
                fmt.exact(n_skipped(m)),
                fmt.exact(dig(m, "tokens_per_s")),
                fmt.exact(dig(m, "world_size")),
                fmt.duration(s.seconds),
            ]
        )
    head = [
        "stage",
        "steps",
        "tokens",
        "loss, first",
        "loss, end",
        "grad. norm",
        "expert load",
        "skipped",
        "tokens/s",
        "ranks",
        "time",
    ]
    return table(head, body)


def _worst(load: Json) -> str:
    values = [v for _, v in finite_items(load)]
    return fmt.fixed(max(values), 2) if values else fmt.DASH


def n_skipped(metrics: Json) -> float | None:
    """Return the number of skipped steps, however the step reports them."""
    found = dig(metrics, "skipped", "skipped_steps")
    return float(len(found)) if isinstance(found, list) else fmt.number(found)


def _skipped(steps: list[StepRecord]) -> Html | None:
    body = [
        [s.stage or s.name, fmt.exact(dig(r, "step")), dig(r, "reason") or fmt.DASH]
        for s in steps
        for r in rows(s.metrics, "skipped")
    ]
    if not body:
        return None
    return fold(
        join([f"{len(body)} skipped steps"]),
        table(["stage", "step", "reason"], body[:200], text=(0, 2)),
    )
