"""How good the model is: bits per byte and benchmark scores after every stage."""

from __future__ import annotations

import math
from collections.abc import Sequence

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, h, section, sub, table, two_sizes
from openseek.report.plots import grouped_bars
from openseek.report.record import RunRecord, StepRecord, dig, mapping
from openseek.report.sections.common import (
    ALL,
    Score,
    bits_per_byte,
    evaluations,
    finite_items,
    overall,
    stage_colors,
    task_scores,
    unigram_bits,
    warnings,
)
from openseek.report.sections.headline import about_headline
from openseek.report.sections.score_curves import score_curves

CLEAR = 2.0  # standard errors that a difference must exceed to be coloured


def scores(run: RunRecord) -> Html:
    """Render bits per byte by stage and category, and the score table."""
    steps = evaluations(run)
    if not steps:
        return section("scores", "Evaluation")
    return section(
        "scores",
        "Evaluation",
        score_curves(run),
        _bpb_part(run, steps),
        _score_part(steps),
        _likelihood(steps),
        [_missing(s) for s in steps[-1:]],
        [warnings(dig(s.metrics, "warnings"), f"Warnings of {s.name}") for s in steps],
    )


def _bpb_part(run: RunRecord, steps: Sequence[StepRecord]) -> Html | None:
    found = {s.stage or s.name: bits_per_byte(s) for s in steps}
    names = order(k for v in found.values() for k in v)
    if not names:
        return None
    base = unigram_bits(run)
    chart = two_sizes(
        lambda width: grouped_bars(
            names,
            {stage: [v.get(n) for n in names] for stage, v in found.items()},
            label="bits per byte by stage and category",
            y_label="bits per byte (lower is better)",
            y_format=lambda v: f"{v:.3g}",
            colors=stage_colors(list(found)),
            marks={"unigram model": [base.get(n) for n in names]} if base else None,
            width=width,
            height=340 if width > 600 else 290,
        )
    )
    body = []
    for n in names:
        values = [v.get(n) for v in found.values()]
        last, first = values[-1], values[0]
        gain = 1 - last / base[n] if last is not None and base.get(n) else None
        cells: list[object] = [n, fmt.fixed(base.get(n), 3)]
        for i, value in enumerate(values):
            before = values[i - 1] if i else None
            cells.append(_with_delta(fmt.fixed(value, 3), value, before, 3, lower_is_better=True))
        cells += [
            fmt.signed(last - first, 3)
            if last is not None and first is not None and len(values) > 1
            else fmt.DASH,
            fmt.percent(gain),
        ]
        body.append(cells)
    head = ["category", "unigram", *found, "first to last", "below unigram"]
    return sub(
        "Bits per byte on held-out documents",
        figure(
            None,
            chart,
            "The unigram model knows how often each token of the category occurs in the training "
            "text, no more; its figure is the entropy of those tokens, less than it would need "
            "for other documents.",
        ),
        table(head, body),
        _finer(steps, "bpb_by_lang", "By language"),
        _finer(steps, "bpb_by_source", "By source"),
    )


def _finer(steps: Sequence[StepRecord], key: str, title: str) -> Html | None:
    found = {s.stage or s.name: dict(finite_items(mapping(s.metrics, key))) for s in steps}
    names = sorted({n for v in found.values() for n in v})
    if not names:
        return None
    body = [[n, *(fmt.fixed(v.get(n), 3) for v in found.values())] for n in names]
    return fold(title, table([title.split(" ")[-1], *found], body))


def _likelihood(steps: Sequence[StepRecord]) -> Html | None:
    """Show how likely the right option is, which moves long before any accuracy does."""
    found = {s.stage or s.name: mapping(s.metrics, "likelihood") for s in steps}
    tasks = list(dict.fromkeys(t for v in found.values() for t in v))
    if not tasks:
        return None
    body = []
    for task in tasks:
        cells: list[object] = [task]
        for values in found.values():
            raw = values.get(task)
            p, error = fmt.number(dig(raw, "p_gold")), fmt.number(dig(raw, "stderr"))
            text = fmt.fixed(100 * p, 1) if p is not None else fmt.DASH
            cells.append(f"{text} ± {fmt.fixed(100 * error, 1)}" if error is not None else text)
        last = list(found.values())[-1].get(task)
        cells.append(fmt.fixed(dig(last, "bits_per_byte"), 3))
        body.append(cells)
    head = ["task", *found, "bits per byte, at the end"]
    return sub(
        "Probability of the right option, %",
        table(head, body),
        h(
            "p",
            "Softmax over the options' log-likelihoods per byte. It moves while accuracy still "
            "sits at chance.",
            cls="note",
        ),
    )


def _missing(step: StepRecord) -> Html | None:
    found = mapping(step.metrics, "missing")
    rows_missing = dig(step.metrics, "headline.missing")
    texts = [f"{task}: {reason}" for task, reason in found.items()]
    if isinstance(rows_missing, list) and rows_missing:
        texts.append("not in the headline: " + ", ".join(str(r) for r in rows_missing))
    return warnings(texts, "Not evaluated")


def order(names: object) -> list[str]:
    """List category names once, the total last."""
    found = list(dict.fromkeys(names))  # type: ignore[call-overload]
    return [n for n in found if n != ALL] + ([ALL] if ALL in found else [])


def _with_delta(
    text: str,
    value: float | None,
    before: float | None,
    digits: int,
    *,
    lower_is_better: bool = False,
    noise: float = 0.0,
) -> object:
    if value is None or before is None:
        return text
    change = value - before
    better = change < 0 if lower_is_better else change > 0
    cls = "flat" if abs(change) <= noise or change == 0 else "up" if better else "down"
    return h("span", text, " ", h("small", fmt.signed(change, digits), cls=f"by {cls}"))


def _score_part(steps: Sequence[StepRecord]) -> Html | None:
    found = {s.stage or s.name: task_scores(s) for s in steps}
    tasks = list(dict.fromkeys(t for v in found.values() for t in v))
    total = {s.stage or s.name: overall(s) for s in steps}
    if not tasks and not any(total.values()):
        return None
    body = [_row(task, [v.get(task) for v in found.values()]) for task in tasks]
    foot = (
        _row(about_headline(steps[-1].metrics), list(total.values()))
        if any(total.values())
        else None
    )
    head = ["task", "metric", "items", "chance", *found]
    return sub(
        "Scores, % ± one standard error",
        grid(_score_chart(found, tasks)),
        table(head, body, text=2, foot=foot),
        h(
            "p",
            "Small figures: difference to the stage before; coloured only where it exceeds "
            f"{CLEAR:.0f} standard errors of the difference (taken as independent).",
            cls="note",
        ),
    )


def _row(task: str, scores: Sequence[Score | None]) -> list[object]:
    known = [s for s in scores if s]
    n = next((s.n for s in known if s.n is not None), None)
    chance = next((s.chance for s in known if s.chance is not None), None)
    cells: list[object] = [
        task,
        next((s.metric for s in known if s.metric), ""),
        fmt.exact(n),
        fmt.fixed(100 * chance, 1) if chance is not None else fmt.DASH,
    ]
    before: Score | None = None
    for score in scores:
        if score is None or score.value is None:
            cells.append(fmt.DASH)
            continue
        text = fmt.fixed(100 * score.value, 1)
        if score.stderr is not None:
            text += f" ± {fmt.fixed(100 * score.stderr, 1)}"
        past = 100 * before.value if before and before.value is not None else None
        errors = (score.stderr or 0.0, (before.stderr or 0.0) if before else 0.0)
        noise = CLEAR * 100 * math.hypot(*errors)
        cells.append(_with_delta(text, 100 * score.value, past, 1, noise=noise))
        before = score
    return cells


def _score_chart(found: dict[str, dict[str, Score]], tasks: Sequence[str]) -> Html | None:
    if not tasks or len(tasks) > 16:
        return None

    def column(stage: str, what: str) -> list[float | None]:
        scores = [found[stage].get(t) for t in tasks]
        values = [getattr(s, what) if s else None for s in scores]
        return [100 * v if v is not None else None for v in values]

    last = list(found)[-1]
    chart = grouped_bars(
        [*tasks],
        {s: column(s, "value") for s in found},
        label="scores by task and stage",
        y_label="%",
        y_format=lambda v: f"{v:.3g}",
        errors={s: column(s, "stderr") for s in found},
        marks={"chance": column(last, "chance")},
        colors=stage_colors(list(found)),
        width=1120,
        height=320,
    )
    return figure(None, h("div", chart, cls="pan"), wide=True)
