"""One step at a time, for Prefect's artifacts: whoever sees only the UI understands the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openseek.report import fmt
from openseek.report.markdown import table
from openseek.report.plots import Series, grouped_bars, hundred_bars, line_chart
from openseek.report.record import Json, mapping, rows
from openseek.report.svg import svg_data_uri


def step_markdown(metrics: Json) -> str:
    """Write a step's metrics as tables: counts, sources, reasons, scores.

    Tables without data are left out, so it fits every kind of step.
    """
    parts = [
        _scalars(metrics),
        _by_source(metrics),
        *(_reasons(metrics, key) for key in ("dropped", "changed", "quarantined")),
        _scores(metrics),
        _flat(metrics, "bpb", "bits per byte", 3),
    ]
    return "\n\n".join(p for p in parts if p)


def step_plots(metrics: Json) -> dict[str, str]:
    """Draw what a step has curves or shares of; name -> data URI of an SVG image."""
    plots = {}
    curve = rows(metrics, "curve")
    if curve:
        points = [(r.get("tokens"), r.get("loss")) for r in curve]
        rates = [(r.get("tokens"), r.get("lr")) for r in curve]
        plots["loss"] = line_chart(
            [Series("loss", points)], label="training loss", x_label="tokens", y_label="nats/token"
        )
        plots["learning-rate"] = line_chart(
            [Series("learning rate", rates)], label="learning rate", x_label="tokens"
        )
    bpb = _numbers(mapping(metrics, "bpb"))
    if bpb:
        plots["bits-per-byte"] = grouped_bars(
            list(bpb), {"bits per byte": list(bpb.values())}, label="bits per byte by category"
        )
    by_category = _numbers(mapping(metrics, "tokens.by_category"))
    if by_category:
        plots["tokens"] = hundred_bars([("tokens", by_category)], label="tokens by category")
    drawn = {name: svg for name, svg in plots.items() if "<svg" in svg}
    return {name: svg_data_uri(svg) for name, svg in drawn.items()}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found = {k: fmt.number(v) for k, v in values.items()}
    return {k: v for k, v in found.items() if v is not None}


def _scalars(metrics: Json) -> str:
    plain = {k: v for k, v in metrics.items() if isinstance(v, int | float | str) and v != ""}
    return table(
        ["", "value"], [[k, v if isinstance(v, str) else fmt.compact(v)] for k, v in plain.items()]
    )


def _by_source(metrics: Json) -> str:
    found = mapping(metrics, "by_source")
    body = [
        [name, *(fmt.exact(line.get(k)) for k in ("documents_in", "documents_out", "bytes_out"))]
        for name, line in found.items()
        if isinstance(line, Mapping)
    ]
    return table(["source", "documents in", "documents out", "bytes out"], body)


def _reasons(metrics: Json, key: str) -> str:
    found = mapping(metrics, key)
    body = [[name, fmt.exact(n)] for name, n in sorted(found.items()) if fmt.number(n)]
    return table([key, "documents"], body)


def _scores(metrics: Json) -> str:
    body = [
        [
            r.get("task"),
            r.get("metric"),
            fmt.percent(r.get("value")),
            fmt.percent(r.get("stderr")),
            fmt.percent(r.get("chance")),
            r.get("n"),
        ]
        for r in rows(metrics, "scores")
    ]
    return table(["task", "metric", "score", "standard error", "chance", "items"], body, text=2)


def _flat(metrics: Json, key: str, title: str, digits: int) -> str:
    found = _numbers(mapping(metrics, key))
    return table([title, "value"], [[k, fmt.fixed(v, digits)] for k, v in found.items()])
