"""What of evaluation items was found in training documents and in synthetic rows."""

from __future__ import annotations

from openseek.report import fmt
from openseek.report.html import Html, fold, h, join, section, table
from openseek.report.record import Json, RunRecord, dig, mapping, rows
from openseek.report.sections.common import facts, finite_items, sample


def decontamination(run: RunRecord) -> Html:
    """Render the overlaps with evaluation sets that were found, in documents and in synthesis."""
    metrics, made = run.metrics("decontaminate"), run.metrics("synthesise")
    if not metrics:
        return section("decontamination", "Decontamination")
    items, hits = mapping(metrics, "items"), mapping(metrics, "documents_by_task")
    rejected = mapping(made, "contamination.by_task")
    body = [
        [task, fmt.exact(items.get(task)), fmt.exact(hits.get(task, 0))]
        + ([fmt.exact(rejected.get(task, 0))] if made else [])
        for task in sorted({*items, *hits, *rejected})
    ]
    head = ["evaluation set", "items looked for", "documents dropped"]
    head += ["synthetic rows dropped"] if made else []
    listed = [_listed("Training documents", metrics), _listed("Synthetic rows", made)]
    return section(
        "decontamination",
        "Decontamination",
        facts(
            (
                "evaluation items",
                fmt.exact(sum(v for _, v in finite_items(items))) if items else None,
            ),
            ("items too short to look for", _too_short(metrics)),
        ),
        table(["what was compared", "in", "dropped", "share"], _compared(metrics, made)),
        table(head, body) if body else None,
        [part for part in listed if part is not None]
        or h("p", "No overlap was found.", cls="none"),
        lead="Training documents and synthetic rows that share long word sequences with evaluation "
        "items, and documents that nearly are held-out ones, are dropped: scores shall measure "
        "what was learnt, not what was seen.",
    )


def _compared(metrics: Json, made: Json) -> list[list[str]]:
    """Count what was compared and what was dropped, for documents and for synthetic rows."""
    came = fmt.number(dig(metrics, "documents_in"))
    dropped = sum(v for _, v in finite_items(mapping(metrics, "dropped")))
    counted = [("training documents", came, dropped)]
    for name, raw in mapping(made, "recipes").items():
        wrong = fmt.number(dig(raw, "rejected.contaminated")) or 0.0
        counted.append((f"synthetic rows, {name}", fmt.number(dig(raw, "rows")), wrong))
    return [
        [name, fmt.exact(n), fmt.exact(x), fmt.percent(x / n, 2) if n else fmt.DASH]
        for name, n, x in counted
    ]


def _listed(title: str, metrics: Json) -> Html | None:
    """Show what of evaluation items was found, and where in the text."""
    found = rows(metrics, "contamination.rows")
    if not found and title == "Training documents":
        found = [
            s
            for name in sorted(mapping(metrics, "samples"))
            for s in rows(metrics, f"samples.{name}")
        ]
    if not found:
        return None
    all_of = fmt.number(dig(metrics, "contamination.documents")) or len(found)
    told = join([title, h("small", f"{fmt.exact(len(found))} of {fmt.exact(all_of)} dropped")])
    return fold(told, [sample(row) for row in found], open_=len(found) <= 3)


def _too_short(metrics: Json) -> str | None:
    value = fmt.number(dig(metrics, "items_too_short"))
    return None if value is None else fmt.exact(value)
