"""The whole page: sections in order, style and script inside, nothing from elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

from openseek.report import fmt
from openseek.report.html import Html, h, section
from openseek.report.record import RunRecord
from openseek.report.sections import (
    board,
    contamination,
    curation,
    data,
    evaluation,
    headline,
    items,
    provenance,
    synthesis,
    tokens,
    training,
)
from openseek.report.shell import document

log = logging.getLogger(__name__)

Render = Callable[[RunRecord], Html]

SECTIONS: tuple[tuple[str, str, Render], ...] = (
    ("steps", "Steps", headline.steps),
    ("scores", "Evaluation", evaluation.scores),
    ("board", "Leaderboard", board.board),
    ("items", "Items", items.items),
    ("training", "Training", training.training),
    ("funnel", "Data funnel", data.funnel),
    ("sources", "Sources", data.sources),
    ("dedup", "Duplicates", curation.duplicates),
    ("quality", "Quality", curation.quality),
    ("decontamination", "Decontamination", contamination.decontamination),
    ("synthesis", "Synthesis", synthesis.synthesis),
    ("tokenizer", "Tokenizer", tokens.tokenizer),
    ("mixture", "Mixture", tokens.mixture),
    ("export", "Export", provenance.export),
    ("quarantine", "Quarantined rows", data.quarantine),
    ("lineage", "Lineage", provenance.lineage),
    ("machine", "Machine", provenance.machine),
    ("config", "Configuration", provenance.configuration),
)


def _section(run: RunRecord, anchor: str, title: str, render: Render) -> Html:
    """Render a section; a defect in one of them must not cost the run its whole report."""
    try:
        return render(run)
    except Exception as error:
        log.exception("report=section_failed section=%s run=%s", anchor, run.name)
        text = f"This section could not be drawn ({type(error).__name__}: {error})."
        return section(anchor, title, h("p", text, " report.json has its data.", cls="warn"))


def render_report(run: RunRecord) -> str:
    """Render a run as one HTML file that loads nothing else.

    Metrics that are missing leave a section saying that it was not part of the run. Text from
    documents is escaped. The same record gives the same bytes.
    """
    parts = [
        (anchor, title, _section(run, anchor, title, draw)) for anchor, title, draw in SECTIONS
    ]
    links = [
        h("a", title, href=f"#{anchor}", cls="off" if "Not part of this run." in body else None)
        for anchor, title, body in parts
    ]
    main = h(
        "main",
        headline.headline(run),
        *(body for _, _, body in parts),
        h(
            "footer",
            f"OpenSeek pipeline · run {run.name}",
            f" · started {fmt.clip(run.started, 40)}" if run.started else None,
        ),
    )
    return document(f"{run.name} · OpenSeek run report", links, run.name, main, ["items.js"])
