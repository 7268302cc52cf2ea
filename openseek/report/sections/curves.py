"""Training's logs on one axis: the stages one after another over the tokens seen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from openseek.report import fmt
from openseek.report.record import Json, StepRecord, dig, mapping, rows
from openseek.report.scales import Point, smooth


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

    def marks(self, steps: list[StepRecord], key: str) -> list[float]:
        """Return where the events of a list in the steps' metrics lie, those that say it."""
        starts = {stage: start for start, _, stage in self.spans}
        found = []
        for step in steps:
            start = starts.get(step.stage or step.name)
            for event in rows(step.metrics, key):
                at = fmt.number(dig(event, "tokens"))
                if start is not None and at is not None:
                    found.append(start + at)
        return found

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


def layer_name(layer: str) -> str:
    """Shorten a layer's name for a label."""
    numbers = re.findall(r"\d+", layer)
    return f"layer {numbers[0]}" if numbers and not layer.startswith("mtp") else layer
