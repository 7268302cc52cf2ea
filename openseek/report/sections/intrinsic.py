"""Calibration of the option probabilities, and which experts each category is routed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, sub, table
from openseek.report.plots import Series, heatmap, line_chart
from openseek.report.record import Json, StepRecord, dig, mapping, rows
from openseek.report.sections.curves import layer_name

LAYERS_SHOWN = 4


def calibration(models: Sequence[Json]) -> Html | None:
    """Draw reliability: the share of right answers against the confidence, and the table of it.

    Args:
        models: [{name, calibration}] as `openseek.evaluation.board.build_board` gives them.
    """
    known = [(str(m.get("name")), mapping(m, "calibration")) for m in models]
    known = [(name, c) for name, c in known if c]
    if not known:
        return None
    series = [Series("", [(0, 0), (100, 100)], "muted", thin=True)]
    for i, (name, c) in enumerate(known):
        points = [(_percent(b, "confidence"), _percent(b, "accuracy")) for b in rows(c, "bins")]
        series.append(Series(name, points, i))
    chart = line_chart(
        series,
        label="reliability of the option probabilities",
        x_label="mean confidence of a bin, %",
        y_label="right, %",
        y_format=lambda v: f"{v:.3g}",
        zero=True,
    )
    body = [
        [
            name,
            fmt.exact(dig(c, "n")),
            fmt.percent(dig(c, "confidence")),
            fmt.percent(dig(c, "accuracy")),
            fmt.percent(dig(c, "ece")),
        ]
        for name, c in known
    ]
    head = ["model", "items", "mean confidence", "right", "expected calibration error"]
    note = (
        "Confidence: the softmax over the options' log-likelihoods per byte, at the likeliest "
        "one. On the faint diagonal it would be as often right as it says. The error is the mean "
        "distance from it, over ten bins weighted by their items."
    )
    return sub(
        "Calibration",
        table(head, body),
        grid(figure("Reliability", chart, note)),
        fold("Bins of the last model", _bins(known[-1][1])),
    )


def _bins(found: Json) -> Html:
    body = [
        [
            f"{fmt.percent(b.get('low'), 0)} to {fmt.percent(b.get('high'), 0)}",
            fmt.exact(b.get("n")),
            fmt.percent(b.get("confidence")),
            fmt.percent(b.get("accuracy")),
        ]
        for b in rows(found, "bins")
    ]
    return table(["confidence", "items", "mean confidence", "right"], body)


def _percent(raw: Json, key: str) -> float | None:
    value = fmt.number(raw.get(key))
    return None if value is None else 100 * value


def experts(steps: Sequence[StepRecord]) -> Html | None:
    """Draw how far each category's routing is from the mean, by layer, and the experts' shares."""
    found: Json = {}
    stage = ""
    for step in steps:
        if one := mapping(step.metrics, "experts"):
            found, stage = one, step.stage or step.name
    layers, categories = (_names(found.get(key)) for key in ("layers", "categories"))
    if not layers or not categories:
        return None
    divergence = mapping(found, "divergence")
    values = [[_under(divergence, layer).get(c) for c in categories] for layer in layers]
    overview = heatmap(
        values,
        rows=[layer_name(x) for x in layers],
        columns=categories,
        label="divergence of the routing by layer and category",
        x_label="category",
        fmt=lambda v: f"{v:.3f} bits",
    )
    note = (
        "Divergence of the category's distribution over the routed experts from the mean over the "
        "categories, in bits: 0 if it is routed like all others, and at most the logarithm of the "
        "number of categories."
    )
    ranked = sorted(layers, key=lambda x: -(fmt.number(mapping(found, "by_layer").get(x)) or 0.0))
    maps = [_shares(found, layer, categories) for layer in ranked[:LAYERS_SHOWN]]
    table_ = _over_stages(steps, layers)
    return sub(
        f"Expert specialisation by category, after {stage}",
        grid(figure("Divergence by layer", overview, note), *maps),
        fold("Divergence by layer and stage", table_) if table_ else None,
    )


def _shares(found: Json, layer: str, categories: Sequence[str]) -> Html | None:
    shares = _under(mapping(found, "shares"), layer)
    values = [_numbers(shares.get(c)) for c in categories]
    n_experts = max((len(v) for v in values), default=0)
    if not n_experts:
        return None
    chart = heatmap(
        [[100 * x for x in row] for row in values],
        rows=list(categories),
        columns=list(range(n_experts)),
        label=f"share of each category's tokens by expert, {layer}",
        x_label="expert",
        fmt=lambda v: f"{v:.1f} %",
        middle=100 / n_experts,
    )
    bits = fmt.fixed(mapping(found, "by_layer").get(layer), 3)
    note = f"Share of choices, mean divergence {bits} bits; the two hues part at an even share."
    return figure(f"{layer_name(layer)}: experts by category", chart, note)


def _under(data: Json, name: str) -> Json:
    """Return the mapping under a name that may have dots."""
    found = data.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _names(raw: Any) -> list[str]:
    return [str(x) for x in raw] if isinstance(raw, list) else []


def _numbers(raw: Any) -> list[float]:
    found = [fmt.number(x) for x in raw] if isinstance(raw, list) else []
    return [x for x in found if x is not None]


def _over_stages(steps: Sequence[StepRecord], layers: Sequence[str]) -> Html | None:
    known = {s.stage or s.name: mapping(s.metrics, "experts.by_layer") for s in steps}
    known = {name: values for name, values in known.items() if values}
    if not known:
        return None
    body = [
        [layer_name(x), *(fmt.fixed(values.get(x), 4) for values in known.values())] for x in layers
    ]
    return table(["layer", *(f"{name}, bits" for name in known)], body)
