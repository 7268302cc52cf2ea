"""The short form of a report: for a terminal, a commit, or Prefect's Markdown artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openseek.report import fmt
from openseek.report.record import RunRecord, dig, mapping
from openseek.report.sections.common import (
    FLOW,
    bits_per_byte,
    evaluations,
    finite_items,
    overall,
    task_scores,
    unigram_bits,
)
from openseek.report.sections.evaluation import order
from openseek.report.sections.headline import tiles


def run_markdown(run: RunRecord) -> str:
    """Sum up a run: headline, bits per byte, scores, funnel, steps.

    Tables without data are left out.
    """
    parts = [
        f"# {escape(run.name)}: {escape(run.state)}",
        _headline(run),
        bpb_table(run),
        score_table(run),
        funnel_table(run),
        _steps(run),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def table(head: Sequence[object], body: Iterable[Sequence[object]], *, text: int = 1) -> str:
    """Write a Markdown table; columns after the first `text` ones are aligned to the right."""
    lines = [[escape(c) for c in row] for row in body]
    if not lines:
        return ""
    rule = [":--" if i < text else "--:" for i in range(len(head))]
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in [[escape(c) for c in head], rule, *lines]
    )


def escape(value: object) -> str:
    """Make a text harmless inside a Markdown table."""
    flat = " ".join(str(value).split())
    for char in "\\`*_[]<>|":
        flat = flat.replace(
            char, f"\\{char}" if char not in "<>" else {"<": "&lt;", ">": "&gt;"}[char]
        )
    return flat


def bpb_table(run: RunRecord) -> str:
    """Write bits per byte by category and stage."""
    steps = evaluations(run)
    found = [(s.stage or s.name, bits_per_byte(s)) for s in steps]
    names = order(k for _, v in found for k in v)
    if not names:
        return ""
    base = unigram_bits(run)
    body = [
        [n, fmt.fixed(base.get(n), 3), *(fmt.fixed(v.get(n), 3) for _, v in found)] for n in names
    ]
    return "## Bits per byte\n\n" + table(["category", "unigram", *(n for n, _ in found)], body)


def score_table(run: RunRecord) -> str:
    """Write scores in per cent with their standard errors, by task and stage."""
    steps = evaluations(run)
    found = [(s.stage or s.name, task_scores(s), overall(s)) for s in steps]
    tasks = list(dict.fromkeys(t for _, v, _ in found for t in v))
    if not tasks:
        return ""
    body: list[list[object]] = []
    for task in tasks:
        chance = next((v[task].chance for _, v, _ in found if task in v), None)
        body.append(
            [
                task,
                fmt.fixed(100 * chance, 1) if chance is not None else fmt.DASH,
                *(_cell(v.get(task)) for _, v, _ in found),
            ]
        )
    if any(total for _, _, total in found):
        body.append(["mean", "", *(_cell(total) for _, _, total in found)])
    return "## Scores, %\n\n" + table(["task", "chance", *(n for n, _, _ in found)], body)


def _cell(score: object) -> str:
    value, error = getattr(score, "value", None), getattr(score, "stderr", None)
    if value is None:
        return fmt.DASH
    return fmt.fixed(100 * value, 1) + (
        f" ± {fmt.fixed(100 * error, 1)}" if error is not None else ""
    )


def funnel_table(run: RunRecord) -> str:
    """Write documents and bytes after each step."""
    body = []
    for name in FLOW:
        m = run.metrics(name)
        if dig(m, "documents_out") is not None:
            dropped = sum(v for _, v in finite_items(mapping(m, "dropped")))
            body.append(
                [
                    name,
                    fmt.exact(dig(m, "documents_in")),
                    fmt.exact(dig(m, "documents_out")),
                    fmt.size(dig(m, "bytes_out")),
                    fmt.exact(dropped),
                ]
            )
    return (
        "## Data\n\n" + table(["step", "documents in", "out", "text out", "dropped"], body)
        if body
        else ""
    )


def _headline(run: RunRecord) -> str:
    lines = []
    for label, figure, unit, remark in tiles(run):
        if figure != fmt.DASH:
            text = " ".join(t for t in (figure, unit) if t)
            lines.append(
                f"- {label}: **{escape(text)}**" + (f" ({escape(remark)})" if remark else "")
            )
    return "\n".join(lines)


def _steps(run: RunRecord) -> str:
    body = [[s.name, s.state, fmt.duration(s.seconds), fmt.short(s.key, 12)] for s in run.steps]
    return "## Steps\n\n" + table(["step", "state", "time", "key"], body, text=2) if body else ""
