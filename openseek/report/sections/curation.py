"""What was removed and ranked: duplicates and quality."""

from __future__ import annotations

from collections.abc import Mapping

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, h, join, section, sub, table
from openseek.report.plots import grouped_bars, heatmap, histogram, hundred_bars
from openseek.report.record import Json, RunRecord, dig, mapping, rows
from openseek.report.sections.common import facts, finite_items, sample

TIER_COLORS: dict[str, int | str] = {"high": "s2", "medium": "s1", "low": "s0"}


def duplicates(run: RunRecord) -> Html:
    """Render how much was duplicate, and some pairs to judge the threshold by."""
    metrics = run.metrics("dedup")
    if not metrics:
        return section("dedup", "Duplicates")
    came = fmt.number(dig(metrics, "documents_in"))
    body = [
        [reason, fmt.exact(n), fmt.percent(n / came, 2) if came else fmt.DASH]
        for reason, n in sorted(
            finite_items(mapping(metrics, "dropped")), key=lambda i: (-i[1], i[0])
        )
    ]
    largest = dig(metrics, "clusters.largest")
    found = rows(metrics, "cluster_samples")
    return section(
        "dedup",
        "Duplicates",
        facts(
            ("clusters", _found(metrics, "clusters.number")),
            (
                "largest clusters",
                ", ".join(fmt.exact(n) for n in largest) if isinstance(largest, list) else None,
            ),
            ("candidate pairs", _found(metrics, "pairs.candidates")),
            ("of these similar", _found(metrics, "pairs.similar")),
        ),
        table(["why", "documents dropped", "of documents in"], body)
        if body
        else h("p", "Nothing was dropped.", cls="none"),
        _sizes(mapping(metrics, "clusters.sizes")),
        sub(
            "Pairs to judge by: what stayed, and what was dropped for it",
            [_pair(s, i) for i, s in enumerate(found[:12])],
        ),
        lead="Documents that are equal, or nearly so, form clusters over all shards and sources; "
        "of each one document stays.",
    )


def _found(metrics: Json, *paths: str) -> str | None:
    value = dig(metrics, *paths)
    return fmt.exact(value) if fmt.number(value) is not None else None


def _sizes(sizes: Json) -> Html | None:
    pairs = sorted(finite_items(sizes), key=lambda i: (len(i[0]), i[0]))
    if not pairs:
        return None
    shown, rest = pairs[:7], sum(n for _, n in pairs[7:])
    names = [k for k, _ in shown] + ([f"over {shown[-1][0]}"] if rest else [])
    values = [n for _, n in shown] + ([rest] if rest else [])
    chart = grouped_bars(
        names, {"clusters": values}, label="clusters by size", y_label="clusters", height=210
    )
    return grid(figure("Clusters by number of documents", chart))


def _pair(raw: Json, index: int) -> Html:
    kept, removed = mapping(raw, "kept"), mapping(raw, "removed")
    title = join(
        [
            str(dig(raw, "reason") or "duplicate"),
            h("small", f"{kept.get('source') or ''} / {removed.get('source') or ''}"),
        ]
    )
    return fold(
        title,
        h(
            "div",
            sample({**kept, "role": "kept"}),
            sample({**removed, "role": "dropped"}),
            cls="pair",
        ),
        open_=index == 0,
    )


def quality(run: RunRecord) -> Html:
    """Render the distribution of scores and the tiers by category and language."""
    metrics = run.metrics("score")
    if not metrics:
        return section("quality", "Quality")
    tiers = {
        k: dict(finite_items(v))
        for k, v in mapping(metrics, "tiers").items()
        if isinstance(v, Mapping)
    }
    shares = (
        hundred_bars(
            [(k, _ordered(v)) for k, v in tiers.items()], label="tiers", colors=TIER_COLORS
        )
        if tiers
        else None
    )
    names = [t for t in TIER_COLORS if any(t in v for v in tiers.values())]
    body = [
        [k, *(fmt.exact(v.get(t)) for t in names), fmt.exact(sum(v.values()))]
        for k, v in tiers.items()
    ]
    return section(
        "quality",
        "Quality",
        grid(
            _histogram(metrics),
            figure("Tiers by category and language", shares, "Share of documents.")
            if shares
            else None,
        ),
        sub("Documents by tier", table(["group", *names, "all"], body)) if body else None,
        _domains(metrics),
        _agreement(run.metrics("classifier")),
        _domain_classifier(run.metrics("domains")),
        lead="The score is an ensemble of ranks within a language, in [0, 1]; tiers are cut within "
        "category and language.",
    )


def _domains(metrics: Json) -> Html | None:
    """Show what the documents are about, by language."""
    by_lang = {
        lang: dict(finite_items(v))
        for lang, v in mapping(metrics, "domains").items()
        if isinstance(v, Mapping)
    }
    counts: dict[str, float] = {}
    for found in by_lang.values():
        for name, n in found.items():
            counts[name] = counts.get(name, 0.0) + n
    if len(counts) < 2:
        return None
    total = sum(counts.values()) or 1.0
    body = [
        [
            name, fmt.exact(counts[name]), fmt.percent(counts[name] / total),
            *(fmt.exact(found.get(name, 0.0)) for found in by_lang.values()),
        ]
        for name in sorted(counts, key=lambda n: (-counts[n], n))
    ]  # fmt: skip
    return sub("Domains", table(["domain", "documents", "share", *by_lang], body))


def _agreement(metrics: Json) -> Html | None:
    """Show how well the classifier repeats its teacher's grades on documents it never saw."""
    told = mapping(metrics, "agreement")
    if not told:
        return None
    keys = ("documents", "accuracy", "accuracy_constant", "within_one", "f1", "spearman")
    body = [
        [lang, *(_figure(k, dig(v, k)) for k in keys)]
        for lang, v in told.items()
        if isinstance(v, Mapping)
    ]
    found = dig(told, "all.confusion")
    confusion = [r for r in found if isinstance(r, list)] if isinstance(found, list) else []
    names = [f"grade {i}" for i in range(len(confusion))]
    cells = heatmap(confusion, rows=names, columns=range(len(names)), label="confusion")
    told_by = dig(metrics, "teacher")
    teachers = ", ".join(map(str, told_by)) if isinstance(told_by, list) else str(told_by or "?")
    head = ["language", "documents", "accuracy", "of a constant", "within one", "F1", "Spearman"]
    return sub(
        f"Classifier: agreement with its teacher ({teachers})",
        figure(None, cells, "Rows: the teacher's grade; columns: the classifier's.")
        if confusion
        else None,
        table(head, body),
    )


def _domain_classifier(metrics: Json) -> Html | None:
    """Show how well the classifier of domains finds the labels of rows it never saw."""
    told = mapping(metrics, "agreement")
    if not told:
        return None
    labels = {k: v for k, v in mapping(told, "labels").items() if isinstance(v, Mapping)}
    body = [
        [name, fmt.exact(dig(v, "documents"))]
        + [fmt.fixed(dig(v, k), 3) for k in ("precision", "recall", "f1")]
        for name, v in labels.items()
    ]
    decided = [
        [least, fmt.percent(dig(v, "share")), fmt.fixed(dig(v, "accuracy"), 3)]
        for least, v in mapping(told, "decided").items()
    ]
    by_lang = [
        [lang, fmt.exact(dig(v, "documents"))]
        + [fmt.fixed(dig(v, k), 3) for k in ("accuracy", "accuracy_constant", "macro_f1")]
        for lang, v in mapping(metrics, "agreement_by_lang").items()
    ]
    teachers = dig(metrics, "teacher")
    by_whom = ", ".join(map(str, teachers)) if isinstance(teachers, list) else ""
    found = dig(told, "confusion")
    confusion = [r for r in found if isinstance(r, list)] if isinstance(found, list) else []
    cells = heatmap(confusion, rows=list(labels), columns=range(len(labels)), label="confusion")
    return sub(
        "Classifier of domains, on rows held out",
        facts(
            ("labelled by", by_whom or None),
            ("rows", fmt.exact(dig(told, "documents"))),
            ("accuracy", fmt.fixed(dig(told, "accuracy"), 3)),
            ("of a constant", fmt.fixed(dig(told, "accuracy_constant"), 3)),
            ("macro F1", fmt.fixed(dig(told, "macro_f1"), 3)),
        ),
        figure(None, cells, "Rows: the label; columns, in the same order: the classifier's.")
        if confusion
        else None,
        table(["label", "rows", "precision", "recall", "F1"], body),
        table(["least probability", "decided", "accuracy of these"], decided),
        table(["language", "rows", "accuracy", "of a constant", "macro F1"], by_lang)
        if by_lang
        else None,
    )


def _figure(name: str, value: object) -> str:
    return fmt.exact(value) if name == "documents" else fmt.fixed(value, 3)


def _ordered(tiers: Mapping[str, float]) -> dict[str, float]:
    return {t: tiers.get(t, 0.0) for t in (*TIER_COLORS, *sorted(set(tiers) - set(TIER_COLORS)))}


def _histogram(metrics: Json) -> Html | None:
    found = dig(metrics, "score_histogram", "histogram")
    if isinstance(found, Mapping) and isinstance(dig(found, "edges"), list):
        edges, counts = dig(found, "edges"), dig(found, "counts") or []
    else:
        lists = (
            [v for v in found.values() if isinstance(v, list)]
            if isinstance(found, Mapping)
            else [found]
            if isinstance(found, list)
            else []
        )
        n = max((len(v) for v in lists), default=0)
        counts = [sum(fmt.number(v[i]) or 0.0 for v in lists if i < len(v)) for i in range(n)]
        edges = [i / n for i in range(n + 1)] if n else []
    if not counts:
        return None
    chart = histogram(
        edges,
        counts,
        label="quality scores",
        x_label="quality score",
        x_format=lambda v: f"{v:.2g}",
    )
    return figure("Quality scores of the documents kept", chart)
