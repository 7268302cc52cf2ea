"""Curves of the training stages, one after another over the tokens seen."""

from __future__ import annotations

from openseek.report import fmt
from openseek.report.html import Html, figure, grid, section, sub, table, two_sizes
from openseek.report.plots import Series, heatmap, line_chart
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping
from openseek.report.sections.common import category_colors, finite_items
from openseek.report.sections.curves import Curves, layer_name, natural, read_curves
from openseek.report.sections.headline import tokens_of
from openseek.report.sections.training_health import events, health, n_skipped

HEAT_COLUMNS = 48


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
            _norm(curves, curves.marks(steps, "skipped")),
            _load(curves),
        ),
        health(steps, curves),
        grid(
            _load_map(
                curves, "expert_load", "Expert load by layer over training", "max / mean", 1.0
            )
        ),
        _experts(steps),
        sub("By stage", _table(steps)),
        events(steps),
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


def _norm(curves: Curves, skipped: list[float]) -> Html | None:
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
        marks=skipped,
    )
    note = "Vertical lines: steps whose update was skipped." if skipped else ""
    return figure("Gradient norm", chart, note)


def _load(curves: Curves) -> Html | None:
    layers = curves.keys("expert_load")
    if not layers:
        return None
    series = [
        Series(layer_name(n), curves.smooth(curves.under("expert_load", n), 0.05), i)
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
            rows=[layer_name(x) for x in layers],
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
            rows=[layer_name(x) for x in layers],
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
                fmt.percent(dig(m, "mfu")),
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
        "MFU",
        "ranks",
        "time",
    ]
    return table(head, body)


def _worst(load: Json) -> str:
    values = [v for _, v in finite_items(load)]
    return fmt.fixed(max(values), 2) if values else fmt.DASH
