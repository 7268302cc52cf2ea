"""The DAG as a drawing: data steps in columns by depth, then a block for each training stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from openseek.report import fmt
from openseek.report.html import Html, h, join
from openseek.report.record import RunRecord, StepRecord, dig
from openseek.report.scales import text_width
from openseek.report.svg import c, text

BOX_W, BOX_H, GAP_X, GAP_Y, BAND_GAP, EDGE = 150.0, 66.0, 28.0, 16.0, 34.0, 14.0
PITCH = BOX_W + GAP_X


@dataclass(frozen=True)
class Place:
    """The upper left corner of a step's box, and the band (line of boxes) it stands in."""

    x: float
    y: float
    band: int


def draw_dag(run: RunRecord) -> Html | None:
    """Draw a run's steps and their edges, for wide and for narrow windows; None without steps."""
    if not run.steps:
        return None
    return h("div", _draw(run.steps, 6, "wide"), _draw(run.steps, 2, "narrow"), cls="dag")


def depths(steps: Sequence[StepRecord]) -> dict[str, int]:
    """Return the length of the longest path to each step; an edge back (a defect) is ignored."""
    parents = {s.name: set(s.inputs.values()) - {s.name} for s in steps}
    found: dict[str, int] = {}

    def depth(name: str, above: frozenset[str]) -> int:
        if name not in found:
            sources = sorted((parents[name] & parents.keys()) - above)
            found[name] = 1 + max((depth(s, above | {name}) for s in sources), default=-1)
        return found[name]

    for step in steps:
        depth(step.name, frozenset({step.name}))
    return found


def ancestors(steps: Sequence[StepRecord]) -> dict[str, set[str]]:
    """Return all that each step depends on, directly or not."""
    level = depths(steps)
    above: dict[str, set[str]] = {}
    for step in sorted(steps, key=lambda s: (level[s.name], s.name)):
        parents = {p for p in step.inputs.values() if level.get(p, 1 << 30) < level[step.name]}
        above[step.name] = parents.union(*(above[p] for p in parents))
    return above


def essential_edges(steps: Sequence[StepRecord]) -> set[tuple[str, str]]:
    """Return the edges that no longer path replaces: the ones worth a strong line."""
    above = ancestors(steps)
    edges = set()
    for step in steps:
        direct = set(step.inputs.values()) & above[step.name]
        edges |= {
            (parent, step.name)
            for parent in direct
            if not any(parent in above[other] for other in direct - {parent})
        }
    return edges


def layout(steps: Sequence[StepRecord], columns: int) -> dict[str, Place]:
    """Place every step: what comes before the stages, the stages' blocks, what comes after."""
    above = ancestors(steps)
    staged = {s.name for s in steps if s.stage}
    after = [s for s in steps if not s.stage and above[s.name] & staged]
    before = [s for s in steps if not s.stage and not above[s.name] & staged]
    places, bottom, band = _columns(before, columns)
    stages = list(dict.fromkeys(s.stage for s in steps if s.stage))
    per_band = max(1, columns // 2)
    for first in range(0, len(stages), per_band):
        for i, stage in enumerate(stages[first : first + per_band]):
            block = [s for s in steps if s.stage == stage]
            places |= _block(block, 2 * i, bottom, band)
        bottom = max(p.y for p in places.values()) + BOX_H + BAND_GAP
        band += 1
    used: set[float] = set()
    for step in after:
        x = next((places[p].x for p in step.inputs.values() if p in places), EDGE)
        while x in used:
            x = x - PITCH if x >= EDGE + PITCH else x + columns * PITCH
        used.add(x)
        places[step.name] = Place(x, bottom, band)
    return places


def _columns(steps: Sequence[StepRecord], columns: int) -> tuple[dict[str, Place], float, int]:
    """Place steps by depth, wrapped after so many columns; the longest chain is the first row."""
    level = depths(steps)
    below = {s.name: sum(s.name in a for a in ancestors(steps).values()) for s in steps}
    places: dict[str, Place] = {}
    y, n_bands = 4.0, -(-(max(level.values(), default=-1) + 1) // columns)
    for band in range(n_bands):
        rows = 0
        for column in range(columns):
            here = [s.name for s in steps if level[s.name] == band * columns + column]
            here.sort(key=lambda n: -below[n])
            for row, name in enumerate(here):
                places[name] = Place(EDGE + column * PITCH, y + row * (BOX_H + GAP_Y), band)
            rows = max(rows, len(here))
        y += rows * (BOX_H + GAP_Y) - GAP_Y + BAND_GAP
    return places, y, n_bands


def _block(steps: Sequence[StepRecord], column: int, y: float, band: int) -> dict[str, Place]:
    """Place one stage: what it reads and what judges it above, its training centred below."""
    x = EDGE + column * PITCH
    upper = [s for s in steps if s.kind != "train"]
    places = {
        s.name: Place(x + (i % 2) * PITCH, y + (i // 2) * (BOX_H + GAP_Y), band)
        for i, s in enumerate(upper)
    }
    low = y + -(-len(upper) // 2) * (BOX_H + BAND_GAP)
    for i, step in enumerate(s for s in steps if s.kind == "train"):
        places[step.name] = Place(x + PITCH / 2, low + i * (BOX_H + GAP_Y), band)
    return places


def _draw(steps: Sequence[StepRecord], columns: int, cls: str) -> Html:
    places = layout(steps, columns)
    strong = essential_edges(steps)
    edges = [
        h(
            "path",
            d=edge_path(places[source], places[step.name], places.values()),
            cls="edge" if (source, step.name) in strong else "edge far",
            data_from=source,
            data_to=step.name,
        )
        for step in steps
        for source in dict.fromkeys(step.inputs.values())
        if source in places and source != step.name
    ]
    edges.sort(key=lambda e: "far" not in e)
    width = max(max(p.x for p in places.values()) + BOX_W, columns * PITCH - GAP_X) + EDGE
    height = max(p.y for p in places.values()) + BOX_H + 6
    return h(
        "svg",
        join(edges),
        [_box(s, places[s.name]) for s in steps],
        viewBox=f"0 0 {c(width)} {c(height)}",
        role="img",
        aria_label="steps of the run and what they read",
        cls=cls,
    )


def _box(step: StepRecord, place: Place) -> Html:
    x, y = place.x, place.y
    n_rows = dig(step.metrics, "documents_out", "_files.n_rows")
    size = dig(step.metrics, "bytes_out", "_files.n_bytes")
    facts = [f"{fmt.count(n_rows)} rows" if n_rows else "", fmt.size(size) if size else ""]
    shrink = min(1.0, (BOX_W - 24) / text_width(step.name, 13.5))
    took = f" · {fmt.duration(step.seconds)}" if fmt.number(step.seconds) is not None else ""
    return h(
        "g",
        h("rect", x=c(x), y=c(y), width=c(BOX_W), height=c(BOX_H), rx=6, cls="box"),
        h("rect", x=c(x), y=c(y + 8), width=4, height=c(BOX_H - 16), cls="strip"),
        text(x + 13, y + 19, step.name, "name", style=f"font-size:{12.5 * shrink:.1f}px"),
        text(x + 13, y + 34, step.state + took),
        text(x + 13, y + 47.5, " · ".join(f for f in facts if f)),
        text(x + 13, y + 60, fmt.short(step.key, 12) if step.key else "", "hash"),
        cls=f"node {step.state}",
        data_step=step.name,
    )


def edge_path(a: Place, b: Place, others: Iterable[Place]) -> str:
    """Route an edge: straight to a neighbour, along a free lane, or around by the margins."""
    if abs(a.y - b.y) < 1 and a.x < b.x:
        y = a.y + BOX_H / 2
        between = any(abs(p.y - a.y) < 1 and a.x < p.x < b.x for p in others)
        if not between:
            return f"M{c(a.x + BOX_W)} {c(y)}H{c(b.x)}"
        dip = a.y + BOX_H + GAP_Y / 2
        return _rounded(
            [
                (a.x + BOX_W - 12, a.y + BOX_H),
                (a.x + BOX_W - 12, dip),
                (b.x + 12, dip),
                (b.x + 12, b.y + BOX_H),
            ]
        )
    if a.band == b.band and a.x + BOX_W < b.x:
        y0, y1, turn = a.y + BOX_H / 2, b.y + BOX_H / 2, b.x - GAP_X / 2
        return _rounded([(a.x + BOX_W, y0), (turn, y0), (turn, y1), (b.x, y1)])
    if a.y < b.y:
        return _down(a, b, any(p.band == a.band and p.x == a.x and a.y < p.y < b.y for p in others))
    x0, x1 = a.x + BOX_W * 0.7, b.x + BOX_W * 0.5
    lane = a.y - BAND_GAP / 2
    return _rounded([(x0, a.y), (x0, lane), (x1, lane), (x1, b.y + BOX_H)])


def _down(a: Place, b: Place, blocked: bool) -> str:
    lane = b.y - BAND_GAP / 2
    if blocked and a.band != b.band:
        turn, y0, y1, left = (
            a.x + BOX_W + EDGE - 4,
            a.y + BOX_H / 2,
            b.y + BOX_H / 2,
            b.x - EDGE + 4,
        )
        return _rounded(
            [(a.x + BOX_W, y0), (turn, y0), (turn, lane), (left, lane), (left, y1), (b.x, y1)]
        )
    x0 = a.x + BOX_W * 0.5
    x1 = b.x + BOX_W * (0.5 if abs(a.x - b.x) < 1 else 0.3 if a.x < b.x else 0.7)
    return _rounded([(x0, a.y + BOX_H), (x0, lane), (x1, lane), (x1, b.y)])


def _rounded(points: Sequence[tuple[float, float]], radius: float = 6.0) -> str:
    """Draw a line through points with rounded corners."""
    path = [f"M{c(points[0][0])} {c(points[0][1])}"]
    for (px, py), (x, y), (nx, ny) in zip(points, points[1:], points[2:], strict=False):
        before, behind = abs(px - x) + abs(py - y), abs(nx - x) + abs(ny - y)
        r = min(radius, before / 2, behind / 2)
        if r <= 0:
            continue
        x0, y0 = x + _sign(px - x) * r, y + _sign(py - y) * r
        x1, y1 = x + _sign(nx - x) * r, y + _sign(ny - y) * r
        path.append(f"L{c(x0)} {c(y0)}Q{c(x)} {c(y)} {c(x1)} {c(y1)}")
    path.append(f"L{c(points[-1][0])} {c(points[-1][1])}")
    return "".join(path)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
