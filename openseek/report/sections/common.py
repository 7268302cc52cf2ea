"""How the sections read metrics: tolerant of absent keys, one place for every shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, fold, h, join
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping, rows
from openseek.report.svg import CATEGORY_COLORS

ALL = "all"
FLOW = (
    "ingest", "clean", "dedup", "lines", "substring", "score", "split", "decontaminate",
    "synthesise", "tokenise",
)  # fmt: skip


@dataclass(frozen=True)
class Score:
    """One row of the score table."""

    value: float | None
    stderr: float | None = None
    n: float | None = None
    chance: float | None = None
    metric: str = ""


def stages(run: RunRecord) -> list[str]:
    """List the training stages of a run, in order."""
    return list(dict.fromkeys(s.stage for s in run.steps if s.stage))


def stage_colors(names: Sequence[str]) -> dict[str, int | str]:
    """Give stages shades of one hue from light to dark: they are an order, not kinds."""
    if len(names) == 1:
        return {names[0]: "s1"}
    if len(names) > 3:
        return {n: i for i, n in enumerate(names)}
    return dict(zip(names, ("s0", "s2") if len(names) == 2 else ("s0", "s1", "s2"), strict=True))


def category_colors(names: Sequence[str]) -> dict[str, int | str]:
    """Give every category its own colour on the whole page."""
    others = iter(range(len(CATEGORY_COLORS), 99))
    return {n: CATEGORY_COLORS[n] if n in CATEGORY_COLORS else next(others) for n in names}


def bits_per_byte(step: StepRecord) -> dict[str, float]:
    """Return category -> bits per byte of an evaluate step; the total is under `all`."""
    return dict(finite_items(mapping(step.metrics, "bpb")))


def unigram_bits(run: RunRecord) -> dict[str, float]:
    """Return category -> bits per byte of the unigram model of the tokens; the total is `all`.

    Each category is measured by its own token frequencies, which is the harder baseline.
    """
    found = dict(
        finite_items(mapping(run.metrics("tokenise"), "unigram_bits_per_byte_by_category"))
    )
    total = fmt.number(dig(run.metrics("tokenise"), "unigram_bits_per_byte"))
    return found | ({ALL: total} if total is not None else {})


def task_scores(step: StepRecord) -> dict[str, Score]:
    """Return task -> score of an evaluate step."""
    listed = {str(r.get("task")): to_score(r) for r in rows(step.metrics, "scores")}
    return listed or {str(k): to_score(v) for k, v in mapping(step.metrics, "scores").items()}


def to_score(raw: Any) -> Score:
    """Read a score from a plain number or from a row of the score table."""
    if not isinstance(raw, Mapping):
        return Score(fmt.number(raw))
    return Score(
        fmt.number(dig(raw, "value")),
        fmt.number(dig(raw, "stderr")),
        fmt.number(dig(raw, "n")),
        fmt.number(dig(raw, "chance")),
        str(dig(raw, "metric") or ""),
    )


def overall(step: StepRecord) -> Score | None:
    """Return the headline score of an evaluate step."""
    raw = dig(step.metrics, "headline")
    return to_score(raw) if raw is not None else None


def evaluations(run: RunRecord) -> list[StepRecord]:
    """List the evaluate steps that have run, in order."""
    return [s for s in run.of_kind("evaluate") if s.metrics and s.state != "pending"]


def categories_of(run: RunRecord) -> dict[str, str]:
    """Return source -> category, as far as the metrics or the configuration say it."""
    found: dict[str, str] = {}
    for raw in config_sources(run):
        if dig(raw, "name") and dig(raw, "category"):
            found[str(raw["name"])] = str(raw["category"])
    for raw in rows(run.metrics("ingest"), "sources"):
        if dig(raw, "name") and dig(raw, "category"):
            found[str(raw["name"])] = str(raw["category"])
    made = mapping(run.metrics("tokenise"), "by_source") | mapping(
        run.metrics("synthesise"), "by_source"
    )
    return {s: "cot" for s in made if s.split("-")[0] == "synthetic"} | found


def config_sources(run: RunRecord) -> list[Json]:
    """List the sources of the configuration, whether it holds a list or a mapping."""
    raw = dig(run.config, "sources", "ingest.sources")
    if isinstance(raw, Mapping):
        return [{"name": k, **(v if isinstance(v, Mapping) else {})} for k, v in raw.items()]
    return rows(run.config, "sources", "ingest.sources")


def samples(metrics: Json, *, limit: int = 50) -> list[Html]:
    """Show the samples of each reason, folded away."""
    shown = []
    for reason, found in mapping(metrics, "samples").items():
        items = [s for s in found if isinstance(s, Mapping)] if isinstance(found, list) else []
        if items:
            shown.append(
                fold(
                    join([str(reason), h("small", plural(len(items), "sample"))]),
                    [sample(s) for s in items[:limit]],
                )
            )
    return shown


def sample(raw: Mapping[str, Any], text: str | None = None) -> Html:
    """Show one document's beginning, and where it is from."""
    known = {"id", "source", "text", "category", "before", "after"}
    facts = [str(raw.get("source") or ""), str(raw.get("id") or "")[:12]]
    facts += [
        f"{k} {_fact(v)}"
        for k, v in raw.items()
        if k not in known and not isinstance(v, dict | list)
    ]
    body = text if text is not None else raw.get("text", raw.get("after", ""))
    return h(
        "div",
        h("span", " · ".join(f for f in facts if f), cls="who"),
        fmt.clip(body, 600),
        cls="sample",
    )


def _fact(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else fmt.clip(value, 80)


def warnings(found: Any, title: str = "Warnings") -> Html | None:
    """Show warnings as one box; None without any."""
    if isinstance(found, str):
        found = [found]
    texts = [str(dig(w, "message", "text") or w) for w in found] if isinstance(found, list) else []
    if not texts:
        return None
    return h("div", h("b", title), h("ul", [h("li", t) for t in texts[:50]]), cls="warn")


def plural(n: float, noun: str) -> str:
    """Print a count with its noun."""
    return f"{fmt.count(n)} {noun}{'' if n == 1 else 's'}"


def facts(*pairs: tuple[str, Any]) -> Html | None:
    """Show names and values in two columns, without those that have no value."""
    shown = [(k, v) for k, v in pairs if v not in (None, "", fmt.DASH)]
    if not shown:
        return None
    return h("dl", [[h("dt", k), h("dd", v)] for k, v in shown], cls="facts")


def finite_items(raw: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Iterate over the items that are finite numbers."""
    for name, value in raw.items():
        x = fmt.number(value)
        if x is not None:
            yield str(name), x
