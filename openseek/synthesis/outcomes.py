"""Answers on disk: what came of each document of a piece of work, as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path

from openseek.synthesis.generate import Outcome
from openseek.synthesis.rows import row_of, source_of


def read_answers(path: Path) -> list[Outcome]:
    """Read the outcomes of a piece of work."""
    outcomes = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            raw = json.loads(line)
            rows = [(row_of(row), reason) for row, reason in raw["rows"]]
            document = source_of(raw["document"])
            checks = raw.get("checks", [])
            outcomes.append(Outcome(document, rows, raw["failure"], raw["usage"], checks))
    return outcomes
