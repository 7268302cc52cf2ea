"""What a teacher wrote: yield by reason, cost, lengths, the judge's opinion, samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, figure, fold, grid, h, join, section, sub, table, two_sizes
from openseek.report.plots import heatmap, hundred_bars
from openseek.report.record import Json, RunRecord, dig, mapping, rows
from openseek.report.sections.common import facts, finite_items, plural, sample, samples

REASONS = 6  # with a colour of their own in the chart; the rarer ones are one part
KEPT, OTHERS = "kept", "rarer reasons"
_SPENT = ("requests", "repairs", "prompt_tokens", "completion_tokens")


def synthesis(run: RunRecord) -> Html:
    """Render what the teacher wrote, beside the source it was written from."""
    metrics = run.metrics("synthesise")
    if not metrics:
        return section("synthesis", "Synthesis")
    recipes = {k: v for k, v in mapping(metrics, "recipes").items() if isinstance(v, dict)}
    cost = fmt.number(dig(metrics, "cost_usd"))
    checks = dig(metrics, "verification.checks")
    tasks = sum(fmt.number(dig(raw, "tasks")) or 0 for raw in recipes.values())
    return section(
        "synthesis",
        "Synthesis",
        facts(
            ("teacher", dig(metrics, "teacher")),
            ("documents written", fmt.exact(dig(metrics, "documents_out"))),
            ("text written", fmt.size(dig(metrics, "bytes_out"))),
            ("tasks for reinforcement learning", fmt.exact(tasks) if tasks else None),
            ("cost", f"{cost:.2f} USD" if cost else None),
            ("checks", ", ".join(map(_words, checks)) if isinstance(checks, list) else None),
        ),
        _fates(recipes),
        _lengths(recipes, dig(metrics, "length_edges")),
        _recipes(recipes),
        _spending(metrics, recipes),
        _judge(mapping(metrics, "verification.judge")),
        _rewards(mapping(metrics, "verification.reward")),
        _sandbox(mapping(metrics, "verification.sandbox")),
        sub(
            "Side by side with what they were made from",
            [_side_by_side(name, raw, i) for i, (name, raw) in enumerate(recipes.items())],
        ),
        sub("Rejected rows", samples(metrics, limit=5)),
        lead="Every synthetic document names its teacher, its recipe, the version of its prompts, "
        "the document it was made from and the checks that it passed. All rejected rows are in "
        "rejected.jsonl of the step.",
    )


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _fates(recipes: Mapping[str, Json]) -> Html | None:
    """Draw what became of the rows of each recipe."""
    total: Counter[str] = Counter()
    for raw in recipes.values():
        total.update(dict(finite_items(mapping(raw, "rejected"))))
    shown = [reason for reason, _ in sorted(total.items(), key=lambda i: (-i[1], i[0]))[:REASONS]]
    bars = []
    for name, raw in recipes.items():
        found = dict(finite_items(mapping(raw, "rejected")))
        parts = {KEPT: fmt.number(dig(raw, "kept")) or 0.0}
        parts |= {_words(reason): found.get(reason, 0.0) for reason in shown}
        rest = sum(n for reason, n in found.items() if reason not in shown)
        bars.append((name, parts | ({OTHERS: rest} if len(total) > REASONS else {})))
    if not any(sum(parts.values()) for _, parts in bars):
        return None
    colors: dict[str, int | str] = {KEPT: "s2"}
    colors |= {_words(reason): i for i, reason in enumerate(shown, start=1)}
    about = "what became of the rows of each recipe"
    chart = two_sizes(lambda width: hundred_bars(bars, label=about, colors=colors, width=width))
    return figure("What became of the rows, by recipe", chart, wide=True)


def _lengths(recipes: Mapping[str, Json], edges: object) -> Html | None:
    found = {
        name: [fmt.number(n) or 0.0 for n in counts]
        for name, raw in recipes.items()
        if isinstance(counts := dig(raw, "lengths"), list)
    }
    if not isinstance(edges, list) or not any(map(sum, found.values())):
        return None
    used = max(i for v in found.values() for i, n in enumerate(v) if n) + 1
    shares = [[n / max(1, sum(v)) or None for n in v[:used]] for v in found.values()]
    names = [f"≥ {fmt.compact(edge)}" for edge in edges[:used]]
    chart = two_sizes(
        lambda width: heatmap(
            shares, rows=list(found), columns=names, label="lengths of the rows kept",
            x_label="characters of a row", fmt=fmt.percent, width=width,
        )
    )  # fmt: skip
    return figure("Lengths of the rows kept, share of each recipe", chart, wide=True)


def _recipes(recipes: Mapping[str, Json]) -> Html | None:
    body = []
    for name, raw in recipes.items():
        rejected = sorted(finite_items(mapping(raw, "rejected")), key=lambda i: (-i[1], i[0]))
        failures = sorted(finite_items(mapping(raw, "failed")), key=lambda i: (-i[1], i[0]))
        body.append(
            [
                name,
                fmt.exact(dig(raw, "documents")),
                fmt.exact(sum(n for _, n in failures)),
                fmt.exact(dig(raw, "rows")),
                fmt.exact(dig(raw, "kept")),
                fmt.percent(dig(raw, "yield")),
                join([_reasons("rejected", rejected), _reasons("failed", failures)]) or fmt.DASH,
            ]
        )
    if not body:
        return None
    head = ["recipe", "documents asked", "of them failed", "rows", "kept", "yield", "reasons"]
    return table(head, body, text=(0, 6))


def _reasons(title: str, found: list[tuple[str, float]]) -> Html | None:
    if not found:
        return None
    inner = [h("div", f"{_words(reason)} {fmt.exact(n)}") for reason, n in found]
    if len(found) <= 2:
        told = ", ".join(f"{_words(reason)} {fmt.exact(n)}" for reason, n in found)
        return h("div", f"{title}: {told}")
    return fold(f"{title} for {len(found)} reasons", inner)


def _spending(metrics: Json, recipes: Mapping[str, Json]) -> Html | None:
    """Tell what each recipe asked of which model, and what it cost."""
    ledger, body = mapping(metrics, "ledger"), []
    for name, raw in recipes.items():
        usage = mapping(raw, "usage")
        if not any(fmt.number(usage.get(k)) for k in _SPENT):
            continue
        spent: object = next((v for k, v in ledger.items() if k.split("/")[0] == name), {})
        cost = fmt.number(dig(spent, "cost_usd"))
        model = dig(spent, "model") or dig(metrics, "teacher")
        body.append([name, model, *(fmt.exact(usage.get(k, 0)) for k in _SPENT), _dollars(cost)])
    usage = mapping(metrics, "verification.judge.usage")
    if usage:
        model = dig(metrics, "verification.judge.model")
        body.append(["judge", model, *(fmt.exact(usage.get(k, 0)) for k in _SPENT), None])
    if not body:
        return None
    total = _dollars(fmt.number(dig(metrics, "cost_usd")))
    foot = ["all recipes", "", *(fmt.exact(dig(metrics, k) or 0) for k in _SPENT), total]
    head = ["recipe", "model", "requests", "repairs", "tokens asked", "tokens answered", "cost"]
    return sub("Requests and cost", table(head, body, text=2, foot=foot))


def _dollars(cost: float | None) -> str | None:
    return f"{cost:.2f} USD" if cost else None


def _judge(found: Json) -> Html | None:
    """Tell how far the checks and the judge agree on the sample that both saw."""
    if not found:
        return None
    cells = [
        [side, *(fmt.exact(dig(found, f"{side}_{grade}")) for grade in ("good", "bad"))]
        for side in ("kept", "rejected")
    ]
    body = [
        [name, *_opinion(raw)]
        for name, raw in mapping(found, "by_recipe").items()
        if isinstance(raw, Mapping)
    ]
    reasons = [
        [_words(reason), fmt.exact(n[0]), fmt.exact(n[1])]
        for reason, n in mapping(found, "by_reason").items()
        if isinstance(n, list) and len(n) == 2
    ]
    return sub(
        "The judge's sample",
        facts(
            ("judge", dig(found, "model")),
            ("rows judged", fmt.exact(dig(found, "judged"))),
            ("no grade given", fmt.exact(dig(found, "failed")) if dig(found, "failed") else None),
            ("agreement with the checks", fmt.percent(dig(found, "agreement"))),
            ("Cohen's kappa", fmt.fixed(dig(found, "kappa"))),
        ),
        grid(
            table(["by the checks", "judged good", "judged bad"], cells),
            table(["rejected for", "judged", "of them good"], reasons) if reasons else None,
        ),
        table(["recipe", "judged", "good of kept", "agreement", "kappa"], body) if body else None,
    )


def _opinion(raw: Mapping[str, Any]) -> list[str]:
    return [
        fmt.exact(dig(raw, "judged")), fmt.percent(dig(raw, "precision")),
        fmt.percent(dig(raw, "agreement")), fmt.fixed(dig(raw, "kappa")),
    ]  # fmt: skip


def _rewards(found: Json) -> Html | None:
    limits = dict(finite_items(mapping(found, "lowest_kept")))
    if not limits:
        return None
    body = [[domain, fmt.fixed(limit, 3)] for domain, limit in limits.items()]
    return sub(
        "Rewards",
        facts(
            ("model", dig(found, "model")),
            ("rows scored", fmt.exact(dig(found, "rows"))),
            ("rejected", fmt.exact(dig(found, "rejected"))),
        ),
        fold(f"lowest reward kept in {plural(len(body), 'domain')}",
             table(["domain", "lowest reward kept"], body)),
    )  # fmt: skip


def _sandbox(found: Json) -> Html | None:
    if not found:
        return None
    told = "; ".join(f"{what}: {how}" for what, how in sorted(found.items()))
    return h("p", f"Programs of the teacher ran in the sandbox with {told}.", cls="note")


def _side_by_side(name: str, raw: Json, index: int) -> Html | None:
    found = rows(raw, "side_by_side")
    if not found:
        return None
    pairs = []
    for made in found[:10]:
        about = {k: v for k, v in made.items() if k != "draw"}
        excerpt = {**about, "text": made.get("excerpt", ""), "excerpt": []}
        written = h("div", h("span", "written", cls="who"), fmt.clip(made.get("text", ""), 1200))
        pairs.append(h("div", sample(excerpt), h("div", written, cls="sample"), cls="pair"))
    return fold(join([name, h("small", plural(len(pairs), "sample"))]), pairs, open_=index == 0)
