"""The top of the page: what came out, and the steps it took."""

from __future__ import annotations

from openseek.report import fmt
from openseek.report.dag import draw_dag
from openseek.report.html import Html, fold, h, join, section, table
from openseek.report.record import Json, RunRecord, dig, mapping
from openseek.report.sections.common import (
    ALL,
    bits_per_byte,
    evaluations,
    overall,
    stages,
    unigram_bits,
    warnings,
)


def headline(run: RunRecord) -> Html:
    """Render the run's name and its few most telling figures."""
    about = [f"state {run.state}"]
    names = stages(run)
    if names:
        about.append(
            f"{len(names)} training stage{'s' if len(names) != 1 else ''}: {', '.join(names)}"
        )
    failed = [s.name for s in run.steps if s.state == "failed"]
    state = h(
        "span", run.state, cls=f"pill {run.state if run.state in ('done', 'failed') else 'running'}"
    )
    return h(
        "header",
        h("h1", run.name, " ", state),
        h(
            "p",
            " · ".join(
                about[1:]
                + (
                    [f"started {run.started.replace('T', ' ').replace('+00:00', ' UTC')}"]
                    if run.started
                    else []
                )
            ),
        ),
        warnings([f"Step {name} failed." for name in failed], "This run is not complete"),
        h("div", *(_tile(*t) for t in tiles(run)), cls="tiles"),
    )


def tiles(run: RunRecord) -> list[tuple[str, str, str, str]]:
    """List (label, figure, unit, remark) of the headline; a dash where there is none."""
    return [_score(run), _bpb(run), _model(run), _tokens(run), _documents(run), _time(run)]


def _score(run: RunRecord) -> tuple[str, str, str, str]:
    evals = evaluations(run)
    score = overall(evals[-1]) if evals else None
    if score is None or score.value is None:
        return ("Score", fmt.DASH, "", "not evaluated")
    error = f"± {fmt.fixed(100 * score.stderr, 1)}" if score.stderr is not None else ""
    return ("Score, %", fmt.fixed(100 * score.value, 1), error, about_headline(evals[-1].metrics))


def about_headline(metrics: Json) -> str:
    """Say what the headline is a mean of: it must never look more complete than it is."""
    n, missing = len(mapping(metrics, "headline.rows")), dig(metrics, "headline.missing")
    if not n:
        return "mean over tasks"
    lacking = len(missing) if isinstance(missing, list) else 0
    suite = str(dig(metrics, "headline.suite") or "")
    return f"mean of {n} of {n + lacking} rows" + (f", suite {suite}" if suite else "")


def _bpb(run: RunRecord) -> tuple[str, str, str, str]:
    evals = evaluations(run)
    last = bits_per_byte(evals[-1]).get(ALL) if evals else None
    if last is None:
        return ("Bits per byte", fmt.DASH, "", "not evaluated")
    base = unigram_bits(run).get(ALL)
    first = bits_per_byte(evals[0]).get(ALL)
    parts = []
    if base:
        parts.append(f"{fmt.percent(1 - last / base, 0)} below unigram's {fmt.fixed(base)}")
    if first is not None and len(evals) > 1:
        parts.append(f"{fmt.fixed(first)} after {evals[0].stage}")
    return ("Bits per byte", fmt.fixed(last, 3), "held out", ", ".join(parts))


def _model(run: RunRecord) -> tuple[str, str, str, str]:
    total, active = parameters(run)
    remark = f"{fmt.count(active)} active per token" if active is not None else ""
    return ("Model", fmt.count(total), "total", remark)


def parameters(run: RunRecord) -> tuple[float | None, float | None]:
    """Return the model's parameters, all and active for one token."""
    for step in run.steps:
        if step.kind in ("train", "export"):
            total = dig(
                step.metrics, "parameters.total", "params.total", "n_params", "parameters_total"
            )
            if fmt.number(total) is not None:
                active = dig(
                    step.metrics,
                    "parameters.active",
                    "params.active",
                    "n_active",
                    "parameters_active",
                )
                return fmt.number(total), fmt.number(active)
    return None, None


def tokens_of(metrics: Json) -> float | None:
    """Return the tokens that a train step saw."""
    return fmt.number(dig(metrics, "tokens.total", "tokens", "tokens_seen", "n_tokens"))


def _tokens(run: RunRecord) -> tuple[str, str, str, str]:
    seen = [t for s in run.of_kind("train") if (t := tokens_of(s.metrics)) is not None]
    made = dig(run.metrics("tokenise"), "tokens.total", "tokens", "n_tokens")
    remark = f"{fmt.count(made)} distinct in the corpus" if fmt.number(made) is not None else ""
    return ("Trained on", fmt.count(sum(seen)) if seen else fmt.DASH, "tokens", remark)


def _documents(run: RunRecord) -> tuple[str, str, str, str]:
    first = run.metrics("ingest")
    kept = ("decontaminate", "split", "score", "dedup", "clean", "ingest")
    last = next((m for name in kept if (m := run.metrics(name))), {})
    return (
        "Corpus",
        fmt.size(dig(first, "bytes_out")),
        "",
        f"{fmt.count(came)} documents, {fmt.count(dig(last, 'documents_out'))} kept"
        if (came := dig(first, "documents_out")) is not None
        else "",
    )


def _time(run: RunRecord) -> tuple[str, str, str, str]:
    return (
        "Work in all steps",
        fmt.duration(run.seconds),
        "",
        f"{len(run.steps)} steps",
    )


def _tile(label: str, figure: str, unit: str, remark: str) -> Html:
    unit = unit if figure != fmt.DASH else ""
    return h(
        "div",
        h("span", label),
        h("b", figure, " " if unit else "", h("small", unit) if unit else None),
        h("i", remark) if remark else None,
        cls="tile",
    )


def steps(run: RunRecord) -> Html:
    """Render the DAG and the steps as a table."""
    drawing = draw_dag(run)
    if drawing is None:
        return section("steps", "Steps")
    body = [
        [
            s.name,
            h("span", s.state, cls=f"pill {s.state}"),
            fmt.duration(s.seconds),
            fmt.exact(dig(s.metrics, "documents_out", "_files.n_rows") or None),
            fmt.size(dig(s.metrics, "_files.n_bytes")),
            h("code", fmt.short(s.key, 12)),
            ", ".join(dict.fromkeys(s.inputs.values())) or fmt.DASH,
        ]
        for s in run.steps
    ]
    head = ["step", "state", "time", "rows", "files", "key", "reads from"]
    return section(
        "steps",
        "Steps",
        drawing,
        fold(join(["Steps as a table"]), table(head, body, text=(0, 1, 5, 6))),
        lead="What ran after what. Strong lines carry the order; faint ones are further inputs. "
        "Point at a step to see what it reads and who reads it.",
    )
