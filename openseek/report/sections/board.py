"""The run's leaderboard: what each score is worth, and how it stands to the published ones."""

from __future__ import annotations

import logging

from openseek.report.boards import board_parts
from openseek.report.html import Html, h, section, sub
from openseek.report.record import Json, RunRecord, mapping, rows
from openseek.report.sections.common import evaluations
from openseek.report.sections.intrinsic import calibration, experts

log = logging.getLogger(__name__)


def board(run: RunRecord) -> Html:
    """Render rows with intervals, clean and flagged items, published scores, calibration, experts.

    The stages of the run are the models of the board.
    """
    steps = evaluations(run)
    found = next((b for s in reversed(steps) if (b := mapping(s.metrics, "board"))), None)
    parts = _parts(found) if found else []
    return section(
        "board",
        "Leaderboard",
        parts,
        calibration(rows(found, "models")) if found else None,
        experts(steps),
        lead="Every score with what it is worth; published scores as far as their rows are shared.",
    )


def _parts(found: Json) -> list[Html | None]:
    try:
        return [sub(title, body) for _, title, body in board_parts(found)]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        log.warning("report=board_unreadable error=%s: %s", type(error).__name__, error)
        return [h("p", "The board of this run is of another shape.", cls="none")]
