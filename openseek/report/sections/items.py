"""Items one by one: prompt, options, log-likelihoods, what was picked; with a filter on top."""

from __future__ import annotations

from typing import Any

from openseek.report import fmt
from openseek.report.html import Html, h, section
from openseek.report.record import Json, RunRecord, dig, mapping, rows


def items(run: RunRecord) -> Html:
    """Render the items of the last evaluation that has a sample of them."""
    found: Json = {}
    for step in run.of_kind("evaluate"):
        found = mapping(step.metrics, "browse") or found
    return section("items", "Items", browser(found))


def browser(found: Json) -> Html | None:
    """Render a sample of items; the page's script adds the filter.

    Args:
        found: What `openseek.evaluation.browse.sample_items` returns.
    """
    shown = rows(found, "items")
    if not shown:
        return None
    models = [str(m) for m in found.get("models", [])]
    left = fmt.number(dig(found, "left_out")) or 0
    told = f"{fmt.exact(len(shown))} of {fmt.exact(len(shown) + left)} items are shown"
    told += f", {fmt.exact(left)} left out; " if left else "; "
    told += "items that the models disagree on come first. " if len(models) > 1 else ""
    told += "Probabilities: softmax over the options' log-likelihoods per byte."
    return h(
        "div",
        h("p", told, cls="lead"),
        h("div", [_card(i, models) for i in shown], cls="items", data_models=len(models)),
    )


def _card(item: Json, models: list[str]) -> Html:
    answers = rows(item, "models")
    states = ["right" if a.get("right") else "wrong" for a in answers]
    marks = [
        h("span", "✓" if s == "right" else "✗", cls=f"mark {s}", title=f"{m}: {s}")
        for m, s in zip(models, states, strict=False)
    ]
    text = str(item.get("text") or "")
    line = " ".join(text.split())
    beginning = line if len(line) <= 110 else "… " + line[-110:]
    group = str(item.get("group") or "")
    return h(
        "details",
        h("summary", *marks, h("code", str(item.get("task"))), " ", beginning),
        h("span", " · ".join(x for x in (str(item.get("id")), group) if x), cls="who"),
        h("div", text, cls="sample"),
        _options(item, answers, models) if item.get("choices") else _outputs(item, answers, models),
        cls="item",
        data_task=str(item.get("task")),
        data_state=states[-1] if states else "",
        data_disagree="1" if item.get("disagree") else None,
    )


def _options(item: Json, answers: list[Json], models: list[str]) -> Html:
    head = ["", "option"]
    for model in models:
        head += [f"{model}: log-likelihood", "probability"]
    lines = []
    for i, choice in enumerate(item["choices"]):
        gold = i == item.get("gold")
        cells: list[Any] = [h("td", "✓" if gold else ""), h("td", choice)]
        for a in answers:
            cls = "n picked" if a.get("picked") == i else "n"
            cells.append(h("td", fmt.fixed(_at(a.get("logprobs"), i), 2), cls=cls))
            cells.append(h("td", fmt.percent(_at(a.get("p"), i)), cls=cls))
        lines.append(h("tr", cells, cls="gold" if gold else None))
    top = h("tr", [h("th", t, cls="n" if i > 1 else None) for i, t in enumerate(head)])
    return h("div", h("table", h("thead", top), h("tbody", lines)), cls="scroll", tabindex=0)


def _outputs(item: Json, answers: list[Json], models: list[str]) -> Html:
    expected = item.get("answers") or []
    lines = [h("p", h("b", "expected: "), " | ".join(map(str, expected)))] if expected else []
    lines += [
        h("div", h("span", model, cls="who"), str(a.get("output") or "(nothing)"), cls="sample")
        for model, a in zip(models, answers, strict=False)
    ]
    return h("div", lines)


def _at(values: Any, i: int) -> Any:
    return values[i] if isinstance(values, list) and i < len(values) else None
