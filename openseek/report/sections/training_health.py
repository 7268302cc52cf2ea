"""What was watched while training: MTP, router, speed; skipped steps, rewinds and alarms."""

from __future__ import annotations

from collections.abc import Callable

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, join, sub, table
from openseek.report.plots import Series, line_chart
from openseek.report.record import Json, StepRecord, dig, mapping, rows
from openseek.report.scales import Point
from openseek.report.sections.common import warnings
from openseek.report.sections.curves import Curves, layer_name

MOST_LAYERS = 8  # lines in a chart
MOST_ROWS = 200


def health(steps: list[StepRecord], curves: Curves) -> Html | None:
    """Render the charts of MTP losses, router entropy and bias, and speed."""
    return grid(
        _mtp(curves),
        _by_layer(
            curves,
            "Router entropy",
            "router_entropy",
            "share of the highest entropy",
            "Entropy of the experts' load: 1 when all experts take the same share of tokens.",
        ),
        _bias(curves),
        _speed(steps, curves),
    )


def events(steps: list[StepRecord]) -> Html | None:
    """Render alarms, rewinds and skipped steps, with the documents of the latter."""
    found = [_alarms(steps), _rewinds(steps), _skipped(steps)]
    return join([part for part in found if part]) if any(found) else None


def n_skipped(metrics: Json) -> float | None:
    """Return the number of skipped steps, however the step reports them."""
    found = dig(metrics, "skipped", "skipped_steps")
    return float(len(found)) if isinstance(found, list) else fmt.number(found)


def _chart(
    curves: Curves,
    title: str,
    series: list[Series],
    unit: str,
    note: str = "",
    *,
    y_format: Callable[[float], str] = lambda v: f"{v:.3g}",
    zero: bool = False,
) -> Html | None:
    if not any(s.points for s in series):
        return None
    chart = line_chart(
        series,
        label=title,
        x_label="tokens seen",
        y_label=unit,
        spans=curves.spans,
        y_format=y_format,
        zero=zero,
    )
    return figure(title, chart, note)


def _mtp(curves: Curves) -> Html | None:
    depths = [k for k in curves.keys("parts") if k.removeprefix("mtp_").isdigit()]
    if not depths:
        return None
    named = [("next token", "ce"), *((f"depth {k.removeprefix('mtp_')}", k) for k in depths)]
    series = [
        Series(name, curves.smooth(curves.under("parts", key), 0.05), i)
        for i, (name, key) in enumerate(named)
    ]
    note = "Depth 1 predicts the token after the next one, and so on."
    return _chart(curves, "Multi-token prediction", series, "nats per token", note)


def _by_layer(curves: Curves, title: str, key: str, unit: str, note: str) -> Html | None:
    series = [
        Series(layer_name(n), curves.smooth(curves.under(key, n), 0.05), i)
        for i, n in enumerate(curves.keys(key)[:MOST_LAYERS])
    ]
    return _chart(curves, title, series, unit, note)


def _bias(curves: Curves) -> Html | None:
    series = [
        Series(layer_name(n), _spread(curves, n), i)
        for i, n in enumerate(curves.keys("router_bias")[:MOST_LAYERS])
    ]
    note = "How far the router's biases have moved apart to keep the experts' load even."
    return _chart(curves, "Router bias", series, "highest - lowest bias", note, zero=True)


def _spread(curves: Curves, layer: str) -> list[Point]:
    found = []
    for x, row in curves.rows:
        both = mapping(row, "router_bias").get(layer)
        if isinstance(both, list) and len(both) == 2:
            low, high = fmt.number(both[0]), fmt.number(both[1])
            if low is not None and high is not None:
                found.append((x, high - low))
    return found


def _speed(steps: list[StepRecord], curves: Curves) -> Html | None:
    # A resumed stage has the speed of its last attempt only.
    spans = {stage: (start, end) for start, end, stage in curves.spans}
    points: list[Point] = []
    for step in steps:
        start, end = spans.get(step.stage or step.name, (0.0, 0.0))
        n_steps = fmt.number(dig(step.metrics, "steps", "n_steps"))
        for row in rows(step.metrics, "speed_curve"):
            at, rate = fmt.number(dig(row, "step")), fmt.number(dig(row, "tokens_per_s"))
            if n_steps and at is not None and rate is not None:
                points.append((start + (end - start) * (at + 1) / n_steps, rate))
    series = [Series("", points, 0)]
    return _chart(curves, "Speed", series, "tokens/s", y_format=fmt.compact, zero=True)


def _alarms(steps: list[StepRecord]) -> Html | None:
    texts = [
        f"{s.stage or s.name}, step {fmt.exact(dig(a, 'step'))}: {_kind(a)} experts in "
        f"{layer_name(str(dig(a, 'layer') or fmt.DASH))}: {_listed(dig(a, 'experts'), 16)}"
        for s in steps
        for a in rows(s.metrics, "alarms")
    ]
    return warnings(texts, "Alarms")


def _kind(alarm: Json) -> str:
    return fmt.clip(dig(alarm, "kind") or fmt.DASH, 20)


def _rewinds(steps: list[StepRecord]) -> Html | None:
    body = [
        [s.stage or s.name, fmt.exact(dig(r, "first")), fmt.exact(dig(r, "last"))]
        for s in steps
        for r in rows(s.metrics, "rewinds")
    ]
    if not body:
        return None
    head = ["stage", "first step left out", "last step left out"]
    return join([sub("Rewinds", table(head, body[:MOST_ROWS], text=(0,)))])


def _skipped(steps: list[StepRecord]) -> Html | None:
    body = [
        [
            s.stage or s.name,
            fmt.exact(dig(r, "step")),
            fmt.clip(dig(r, "reason") or fmt.DASH, 80),
            fmt.exact(dig(r, "rewind")),
            _listed(dig(r, "documents"), 8, fmt.number(dig(r, "n_documents"))),
        ]
        for s in steps
        for r in rows(s.metrics, "skipped")
    ]
    if not body:
        return None
    return fold(
        join([f"{len(body)} skipped steps"]),
        table(["stage", "step", "reason", "rewind", "documents"], body[:MOST_ROWS], text=(0, 2, 4)),
    )


def _listed(found: object, most: int, total: float | None = None) -> str:
    if not isinstance(found, list) or not found:
        return fmt.DASH
    shown = ", ".join(fmt.clip(x, 60) for x in found[:most])
    more = int(total if total is not None else len(found)) - min(len(found), most)
    return f"{shown} and {more} more" if more > 0 else shown
