"""The tokenizer, and what each stage's mixture came to."""

from __future__ import annotations

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, h, section, sub, table, two_sizes
from openseek.report.plots import grouped_bars, hundred_bars
from openseek.report.record import Json, RunRecord, StepRecord, dig, mapping, rows
from openseek.report.sections.common import category_colors, facts, finite_items, warnings


def tokenizer(run: RunRecord) -> Html:
    """Render vocabulary and compression by category."""
    metrics, encoded = run.metrics("tokenizer"), run.metrics("tokenise")
    if not metrics and not encoded:
        return section("tokenizer", "Tokenizer")
    ratio = mapping(encoded, "bytes_per_token_by_category")
    ratio = dict(finite_items(ratio or mapping(metrics, "bytes_per_token_by_category")))
    origin = {True: "trained in this run", False: "given by the configuration"}
    read = dig(metrics, "sample_bytes")
    from_n = fmt.exact(dig(metrics, "sample_documents"))
    return section(
        "tokenizer",
        "Tokenizer",
        facts(
            ("vocabulary", fmt.exact(dig(encoded, "vocab_size") or dig(metrics, "vocab_size"))),
            ("origin", origin.get(bool(dig(metrics, "trained"))) if metrics else None),
            ("trained on", f"{fmt.size(read)} in {from_n} documents" if read else None),
            ("tokens", fmt.exact(dig(encoded, "tokens.total"))),
        ),
        grid(_ratio_chart(ratio), _languages(encoded)),
        _by_category(encoded, ratio),
    )


def _ratio_chart(ratio: dict[str, float]) -> Html | None:
    if not ratio:
        return None
    chart = grouped_bars(
        list(ratio),
        {"bytes per token": list(ratio.values())},
        label="bytes per token by category",
        y_label="bytes of text per token",
        y_format=lambda v: f"{v:.3g}",
        height=230,
    )
    note = "Higher is better: more text fits into a sequence."
    return figure("Bytes per token, by category", chart, note)


def _languages(encoded: Json) -> Html | None:
    lang = dict(finite_items(mapping(encoded, "tokens.by_lang")))
    if len(lang) < 2:
        return None
    return figure("Tokens by language", hundred_bars([("tokens", lang)], label="by language"))


def _by_category(encoded: Json, ratio: dict[str, float]) -> Html | None:
    tokens = mapping(encoded, "tokens.by_category")
    unigram = mapping(encoded, "unigram_bits_per_byte_by_category")
    total = fmt.number(dig(encoded, "tokens.total"))
    body = [
        [
            n,
            fmt.exact(tokens.get(n)),
            _share(tokens.get(n), total),
            fmt.fixed(ratio.get(n), 3),
            fmt.fixed(unigram.get(n), 3),
        ]
        for n in dict.fromkeys([*ratio, *tokens])
    ]
    foot = [
        "all",
        fmt.exact(total),
        fmt.percent(1.0) if total else fmt.DASH,
        fmt.fixed(dig(encoded, "bytes_per_token"), 3),
        fmt.fixed(dig(encoded, "unigram_bits_per_byte"), 3),
    ]
    head = ["category", "tokens", "share", "bytes per token", "unigram bits per byte"]
    return sub("By category", table(head, body, foot=foot)) if body else None


def _share(value: object, total: float | None) -> str:
    x = fmt.number(value)
    return fmt.percent(x / total) if x is not None and total else fmt.DASH


def mixture(run: RunRecord) -> Html:
    """Render, for each stage, the shares asked for and the shares drawn."""
    steps = [s for s in run.of_kind("mix") if s.metrics]
    if not steps:
        return section("mixture", "Mixture")
    drawn = [(s.stage, shares(s.metrics)) for s in steps]
    keys = list(dict.fromkeys(k for _, p in drawn for k in p))
    bars = [(n, {k: p.get(k, 0.0) for k in keys}) for n, p in drawn]
    chart = (
        two_sizes(
            lambda width: hundred_bars(
                bars, label="mixture by stage", colors=category_colors(keys), width=width
            )
        )
        if keys
        else None
    )
    return section(
        "mixture",
        "Mixture",
        figure("Tokens drawn, by category", chart) if chart else None,
        _domains(steps, run.metrics("tokenise")),
        [_stage(s) for s in steps],
        lead="What each stage was asked to draw, what it drew, and how often it went through the "
        "data. More than about five passes over the same text stop paying.",
    )


def _domains(steps: list[StepRecord], encoded: Json) -> Html | None:
    """Show how many tokens of each domain there are, and how many each stage draws."""
    there = dict(finite_items(mapping(encoded, "tokens.by_domain")))
    drawn = [dict(finite_items(mapping(s.metrics, "shares.domain"))) for s in steps]
    names = list(dict.fromkeys([*there, *(n for d in drawn for n in d)]))
    if not any(names):
        return None
    totals = [fmt.number(dig(s.metrics, "tokens")) or 0.0 for s in steps]
    body = [
        [
            name or "not labelled",
            fmt.exact(there.get(name)),
            *(
                f"{fmt.exact(round(d.get(name, 0.0) * n))} ({fmt.percent(d.get(name, 0.0))})"
                for d, n in zip(drawn, totals, strict=True)
            ),
        ]
        for name in sorted(names, key=lambda n: (-there.get(n, 0.0), n))
    ]
    head = ["domain", "tokens there", *(f"drawn by {s.stage or s.name}" for s in steps)]
    return sub("By domain", table(head, body))


def shares(metrics: Json) -> dict[str, float]:
    """Return category -> share of the tokens that a stage drew."""
    found = mapping(metrics, "shares.category", "by_category")
    result: dict[str, float] = {}
    for name, raw in found.items():
        x = fmt.number(raw)
        if x is not None:
            result[name] = x
    if not result:
        for row in rows(metrics, "groups"):
            name = str(dig(row, "category", "name"))
            x = fmt.number(dig(row, "weight", "tokens"))
            if x is not None:
                result[name] = result.get(name, 0.0) + x
    return result


def _stage(step: StepRecord) -> Html | None:
    m = step.metrics
    body = []
    for row in rows(m, "groups"):
        want, got = fmt.number(dig(row, "weight_target")), fmt.number(dig(row, "weight"))
        off = (
            fmt.signed(100 * (got - want), 2) if want is not None and got is not None else fmt.DASH
        )
        body.append(
            [
                dig(row, "name") or fmt.DASH,
                dig(row, "category") or fmt.DASH,
                fmt.percent(want, 2),
                fmt.percent(got, 2),
                off,
                fmt.exact(dig(row, "tokens")),
                fmt.exact(dig(row, "available_tokens")),
                fmt.fixed(dig(row, "epochs"), 2),
            ]
        )
    head = [
        "group",
        "category",
        "target %",
        "drawn %",
        "off, points",
        "tokens drawn",
        "tokens there",
        "epochs",
    ]
    return sub(
        f"{step.stage or step.name}: {fmt.count(dig(m, 'tokens'))} tokens",
        warnings(dig(m, "warnings")),
        table(head, body, text=2) if body else None,
        _shares(m),
        h(
            "p",
            f"{fmt.exact(n)} sequences of {fmt.exact(dig(m, 'sequence_length'))} tokens.",
            cls="note",
        )
        if (n := dig(m, "n_sequences")) is not None
        else None,
    )


def _shares(metrics: Json) -> Html | None:
    """Show the shares by source, language, tier and domain, folded away."""
    found = {
        k: dict(finite_items(mapping(metrics, f"shares.{k}")))
        for k in ("source", "lang", "tier", "domain")
    }
    body = [
        [label, name or "unset", fmt.percent(share, 2)]
        for label, values in found.items()
        for name, share in sorted(values.items(), key=lambda i: (-i[1], i[0]))
    ]
    return (
        fold(
            "Shares by source, language, tier and domain",
            table(["by", "name", "share"], body, text=2),
        )
        if body
        else None
    )
