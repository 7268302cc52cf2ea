"""How the commands print what they found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from openseek.units import format_bytes, format_count, format_seconds

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table; all but the first column are right-aligned when they hold numbers."""
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        cells = [r[i] for r in rows]
        numeric = i > 0 and all(c == "" or c[0] in "0123456789-+.~" for c in cells)
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=i == 0)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def print_summary(summary: dict[str, Any]) -> None:
    """Print how a run ended: scores, bits per byte, where model and report are."""
    bpb = {s: v for s, v in summary["bpb"].items() if v}
    if bpb:
        console.print()
        names = [*sorted({c for v in bpb.values() for c in v if c != "all"}), "all"]
        rows = [[c, *(_number(v.get(c)) for v in bpb.values())] for c in names]
        table(["bits per byte", *bpb], rows)
    print_scores(summary["scores"])
    console.print()
    counts = {s: sum(x["state"] == s for x in summary["steps"]) for s in ("ran", "cached")}
    console.print(
        f"{counts['ran']} steps ran, {counts['cached']} cached, "
        f"{format_seconds(summary['seconds'])}, peak memory "
        f"{format_bytes(summary['peak_rss_bytes'])}"
    )
    for name in ("model", "report"):
        if summary[name]:
            console.print(f"{name:<7} {summary[name]}", soft_wrap=True)


def print_scores(scores: dict[str, list[dict[str, Any]]]) -> None:
    """Print the score of each task after each stage, with standard error and chance level."""
    scores = {s: v for s, v in scores.items() if v}
    if not scores:
        return
    console.print()
    last = list(scores.values())[-1]
    rows = []
    for item in last:
        cells = [f"{item['task']} ({item['metric']})"]
        for rows_of_stage in scores.values():
            same = [r for r in rows_of_stage if r["task"] == item["task"]]
            cells.append(_score(same[0]) if same else "")
        chance = item.get("chance")
        cells += ["" if chance is None else f"{100 * chance:.1f}", str(item["n"])]
        rows.append(cells)
    table(["score, % (standard error)", *scores, "chance", "items"], rows)


def _score(row: dict[str, Any]) -> str:
    error = row.get("stderr")
    return f"{100 * row['value']:.1f}" + (f" ({100 * error:.1f})" if error is not None else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def print_plan(plan: dict[str, Any], show_config: bool) -> None:
    """Print the configuration and the DAG with each node's state and cost."""
    import yaml

    if show_config:
        console.print(yaml.safe_dump(plan["config"], allow_unicode=True, sort_keys=False))
    else:
        text = yaml.safe_dump(
            _brief(plan["changed"]), allow_unicode=True, sort_keys=False, default_flow_style=None,
            width=110,
        )  # fmt: skip
        console.print(f"{text}# all else is as by default: --config shows it\n", soft_wrap=True)
    rows = [
        [
            step["name"],
            step["state"],
            _after(step["inputs"]),
            "" if step["tokens"] is None else format_count(step["tokens"]),
            "" if step["flops"] is None else f"{step['flops']:.2g}",
            "" if step["bytes"] is None else format_bytes(step["bytes"]),
            "" if step["seconds"] is None else format_seconds(step["seconds"]),
            _why(step["reason"]),
        ]
        for step in plan["steps"]
    ]
    table(["step", "state", "after", "tokens", "FLOPs", "bytes", "time", "why"], rows)
    trained = next((s for s in plan["steps"] if s.get("parameters")), None)
    if trained:
        console.print(
            f"\nmodel {format_count(trained['parameters'])} parameters, "
            f"{format_count(trained['active_parameters'])} active per token"
        )
    for step in plan["steps"]:
        if asked := step.get("asked"):
            console.print(f"{step['name']} would ask {_asked(asked)}", soft_wrap=True)
    todo = sum(s["state"] != "hit" for s in plan["steps"])
    unknown = sum(s["state"] != "hit" and s["seconds"] is None for s in plan["steps"])
    note = f", without {unknown} steps of which nothing is known" if unknown else ""
    console.print(
        f"{todo} of {len(plan['steps'])} steps to do: {format_count(plan['tokens'])} tokens to "
        f"train on, {plan['flops']:.2g} FLOPs, about {format_seconds(plan['seconds'])}{note}\n"
        f"store {plan['store']}",
        soft_wrap=True,
    )


def _asked(asked: dict[str, Any]) -> str:
    usd = "of unknown price" if asked["usd"] is None else f"about {asked['usd']:.2f} USD"
    limit = f", max_cost_usd={asked['limit_usd']:g}" if asked["limit_usd"] else ""
    return (
        f"{asked['teacher']} about {asked['requests']:,} requests with "
        f"{format_count(asked['prompt_tokens'])} prompt and "
        f"{format_count(asked['completion_tokens'])} answer tokens: {usd}{limit} "
        f"(an estimate from {asked['basis']})"
    )


def _brief(changed: dict[str, Any]) -> dict[str, Any]:
    """Shorten what differs from the defaults: sources and rule blocks by name."""
    brief = dict(changed)
    if "sources" in brief:
        brief["sources"] = ", ".join(s["name"] for s in brief["sources"])
    if blocks := brief.get("cleaning", {}).get("blocks"):
        brief["cleaning"] = {**brief["cleaning"], "blocks": ", ".join(blocks)}
    return brief


def _after(inputs: Sequence[str]) -> str:
    return ", ".join(inputs) if len(inputs) <= 4 else f"{len(inputs)} steps"


def _why(reason: str) -> str:
    return "its inputs are not known yet" if reason.startswith("after ") else reason


def print_runs(runs: Sequence[dict[str, Any]]) -> None:
    """Print the runs of a store."""
    if not runs:
        console.print("no runs yet; start one with `openseek run configs/demo.yaml`")
        return
    rows = [[r["run"], r["state"], _time(r["at"])] for r in runs]
    table(["run", "state", "last change (UTC)"], rows)


def print_run(run: dict[str, Any]) -> None:
    """Print the steps of a run."""
    rows = []
    for name, ref in run["steps"].items():
        if ref is None:
            rows.append([name, "-", "", "", ""])
        else:
            seconds = format_seconds(ref["seconds"])
            rows.append([name, ref["state"], ref["key"][:12], seconds, _time(ref["at"])])
    console.print(f"run {run['run']}: {run['state']}, {_time(run['at'])} UTC")
    table(["step", "state", "key", "time", "finished (UTC)"], rows)


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
