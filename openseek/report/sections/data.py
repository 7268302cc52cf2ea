"""From sources to tokens: what came in, what was dropped and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, h, join, section, sub, table, two_sizes
from openseek.report.plots import grouped_bars, hundred_bars, stacked_bars
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping, rows
from openseek.report.sections.common import (
    FLOW,
    categories_of,
    category_colors,
    config_sources,
    finite_items,
    plural,
    sample,
    samples,
    warnings,
)

TOP_SOURCES = 7
ALL_TEXT = "all text"
TABLES = {"dropped": "dropped", "changed": "changed", "flagged": "flagged", "masked": "masked"}


def funnel(run: RunRecord) -> Html:
    """Render documents and bytes after each step, and the reasons for what was dropped."""
    steps = [
        s for name in FLOW if (s := run.step(name)) and dig(s.metrics, "documents_out") is not None
    ]
    if not steps:
        return section("funnel", "Data funnel")
    category = categories_of(run)
    return section(
        "funnel",
        "Data funnel",
        grid(
            _bars(
                steps,
                "bytes_out",
                category,
                "Text after each step, by category",
                "bytes of UTF-8 text",
                fmt.size,
            ),
            _bars(
                steps,
                "documents_out",
                category,
                "Documents after each step, by category",
                "documents",
                fmt.compact,
            ),
            _lengths(run.metrics("clean")),
            _languages(run.metrics("clean")),
            _source_bars(steps),
        ),
        sub("By step", _table(steps)),
        sub("What was dropped or changed, and why", *(_reasons(s) for s in steps)),
        lead="How much text each step takes in and hands on. Synthesis writes new documents; "
        "all other steps only keep, change or drop.",
    )


def _bars(
    steps: list[StepRecord], key: str, category: Mapping[str, str], title: str, unit: str, form: Any
) -> Html | None:
    lines: list[tuple[str, dict[str, float]]] = []
    for step in steps:
        parts = {
            k: x
            for k, v in mapping(step.metrics, "by_category").items()
            if (x := fmt.number(dig(v, key)))
        }
        if not parts:
            for source, raw in mapping(step.metrics, "by_source").items():
                group = category.get(source, "other")
                parts[group] = parts.get(group, 0.0) + (fmt.number(dig(raw, key)) or 0.0)
        if not parts:
            parts = {ALL_TEXT: fmt.number(dig(step.metrics, key)) or 0.0}
        lines.append((step.name, parts))
    keys = [k for k in ("foundation", "code", "math", "cot") if any(k in p for _, p in lines)]
    keys += sorted({k for _, p in lines for k in p} - set(keys))
    ordered = [(n, {k: p.get(k, 0.0) for k in keys}) for n, p in lines]
    return figure(
        title,
        stacked_bars(
            ordered, label=title, x_label=unit, x_format=form, colors=category_colors(keys)
        ),
    )


def _source_bars(steps: list[StepRecord]) -> Html | None:
    """Show the biggest sources on their own and the rest as one."""
    size: dict[str, float] = {}
    for step in steps:
        for source, raw in mapping(step.metrics, "by_source").items():
            size[source] = max(size.get(source, 0.0), fmt.number(dig(raw, "bytes_out")) or 0.0)
    if len(size) < 2:
        return None
    top = sorted(size, key=lambda s: (-size[s], s))[:TOP_SOURCES]
    lines = []
    for step in steps:
        by_source = {
            s: fmt.number(dig(r, "bytes_out")) or 0.0
            for s, r in mapping(step.metrics, "by_source").items()
        }
        parts = {s: by_source.get(s, 0.0) for s in top}
        rest = sum(v for s, v in by_source.items() if s not in top)
        if len(size) > TOP_SOURCES:
            parts[f"{len(size) - TOP_SOURCES} more"] = rest
        lines.append((step.name, parts))
    title = "Text after each step, by source"
    colors: dict[str, int | str] = {s: i for i, s in enumerate(top)}
    colors[f"{len(size) - TOP_SOURCES} more"] = "muted"
    chart = two_sizes(
        lambda width: stacked_bars(
            lines,
            label=title,
            x_label="bytes of UTF-8 text",
            x_format=fmt.size,
            colors=colors,
            width=width,
        )
    )
    return figure(title, chart, wide=True)


def _lengths(metrics: Json) -> Html | None:
    """Show how long documents are, before and after cleaning, in bins of powers of two."""
    sides = {
        name: {int(k): v for k, v in finite_items(mapping(metrics, key))}
        for name, key in (("before cleaning", "lengths_in"), ("after", "lengths_out"))
    }
    edges = sorted({e for counts in sides.values() for e in counts})
    if not edges:
        return None
    title = "Lengths of the documents"
    chart = grouped_bars(
        [fmt.size(e) for e in edges],
        {name: [counts.get(e, 0.0) for e in edges] for name, counts in sides.items()},
        label=title,
        y_label="documents",
    )
    return figure(title, chart, "From each length to twice as much.")


def _languages(metrics: Json) -> Html | None:
    """Show the languages that were identified in what was kept."""
    found = dict(finite_items(mapping(metrics, "languages")))
    if len(found) < 2:
        return None
    title = "Documents kept by cleaning, by language"
    return figure(title, hundred_bars([("documents", found)], label=title))


def _table(steps: list[StepRecord]) -> Html:
    body = []
    for s in steps:
        came, went = (
            fmt.number(dig(s.metrics, "documents_in")),
            fmt.number(dig(s.metrics, "documents_out")),
        )
        kept = (
            went / came
            if came and went is not None and s.kind not in ("ingest", "synthesise")
            else None
        )
        b_in, b_out = (
            fmt.number(dig(s.metrics, "bytes_in")),
            fmt.number(dig(s.metrics, "bytes_out")),
        )
        kept_bytes = (
            b_out / b_in
            if b_in and b_out is not None and s.kind not in ("ingest", "synthesise")
            else None
        )
        dropped = sum(v for _, v in finite_items(mapping(s.metrics, "dropped")))
        bad = sum(v for _, v in finite_items(mapping(s.metrics, "quarantined")))
        body.append(
            [
                s.name,
                fmt.exact(came),
                fmt.exact(went),
                fmt.percent(kept),
                fmt.size(b_in),
                fmt.size(b_out),
                fmt.percent(kept_bytes),
                fmt.exact(dropped),
                fmt.exact(bad),
            ]
        )
    head = [
        "step",
        "documents in",
        "out",
        "kept",
        "bytes in",
        "out",
        "kept",
        "dropped",
        "quarantined",
    ]
    return table(head, body)


def _reasons(step: StepRecord) -> Html | None:
    found = {what: mapping(step.metrics, key) for what, key in TABLES.items()}
    dropped, changed = found["dropped"], found["changed"]
    shown = samples(step.metrics)
    if not any(found.values()) and not shown:
        return None
    came = fmt.number(dig(step.metrics, "documents_in"))
    lines = [
        [reason, what, fmt.exact(n), fmt.percent(n / came, 2) if came else fmt.DASH]
        for what, counts in found.items()
        for reason, n in sorted(finite_items(counts), key=lambda i: (-i[1], i[0]))
    ]
    n_dropped = sum(v for _, v in finite_items(dropped))
    n_changed = sum(v for _, v in finite_items(changed))
    summary = join(
        [step.name, h("small", f"{fmt.exact(n_dropped)} dropped, {fmt.exact(n_changed)} changes")]
    )
    head = ["reason", "what", "count", "of documents in"]
    return fold(summary, table(head, lines, text=2) if lines else None, shown)


def sources(run: RunRecord) -> Html:
    """Render where the text is from, under which licence, and what is missing."""
    metrics = run.metrics("ingest")
    by_source = mapping(metrics, "by_source")
    told = {str(s.get("name")): s for s in rows(metrics, "sources")}
    configured = {str(s.get("name")): s for s in config_sources(run)}
    names = list(dict.fromkeys([*configured, *told, *by_source]))
    if not names:
        return section("sources", "Sources")
    body = []
    for name in names:
        raw: Json = {**configured.get(name, {}), **told.get(name, {})}
        counts = mapping(by_source, name)
        body.append(
            [
                name,
                dig(raw, "category") or fmt.DASH,
                dig(raw, "lang") or fmt.DASH,
                fmt.clip(dig(raw, "license") or fmt.DASH, 60),
                _origin(raw),
                fmt.exact(dig(raw, "files")),
                fmt.exact(dig(counts, "documents_out")),
                fmt.size(dig(counts, "bytes_out")),
                _state(raw, counts),
            ]
        )
    gone = [f"{n}: {s['missing']}" for n, s in told.items() if s.get("missing")]
    head = ["source", "category", "language", "licence", "from", "files", "documents", "text", ""]
    return section(
        "sources",
        "Sources",
        warnings(gone, "Missing sources: the run went on without them"),
        table(head, body, text=(0, 1, 2, 3, 4, 8)),
        lead="Every document keeps its source, licence and origin; this is their sum.",
    )


def _origin(raw: Json) -> Html | str:
    place = dig(raw, "from", "path", "pypi", "deb", "npm", "hub.id", "hub", "installed")
    if isinstance(place, list):
        place = ", ".join(str(p) for p in place)
    return h("code", fmt.clip(place, 90), cls="wrap") if place else fmt.DASH


def _state(raw: Json, counts: Json) -> Html:
    if dig(raw, "missing"):
        return h("span", "missing", cls="pill failed")
    return (
        h("span", "read", cls="pill cached")
        if counts
        else h("span", "not read", cls="pill pending")
    )


def quarantine(run: RunRecord) -> Html:
    """Render the rows that no step could use, by reason."""
    body, shown = [], []
    for step in run.steps:
        came = fmt.number(dig(step.metrics, "documents_in"))
        for reason, n in sorted(finite_items(mapping(step.metrics, "quarantined"))):
            body.append(
                [step.name, reason, fmt.exact(n), fmt.percent(n / came, 3) if came else fmt.DASH]
            )
        found = mapping(step.metrics, "quarantine_samples")
        shown += [
            fold(f"{step.name}: {k}", [sample(s) for s in v if isinstance(s, Mapping)])
            for k, v in found.items()
            if isinstance(v, list)
        ]
    if not body:
        if run.step("ingest") is None:
            return section("quarantine", "Quarantined rows")
        return section(
            "quarantine", "Quarantined rows", h("p", "None: every row could be read and processed.")
        )
    total = sum(1 for _ in body)
    return section(
        "quarantine",
        "Quarantined rows",
        table(["step", "reason", "rows", "of rows in"], body, text=2),
        shown,
        lead=f"Rows that could not be processed, set aside for {plural(total, 'reason')}; "
        "the files lie in the step's artifact under quarantine/.",
    )
