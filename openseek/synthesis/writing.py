"""From answers to what is published: rows that passed, rows that did not, and the step's figures.

Rows become documents (`synthetic-….parquet`), tasks for reinforcement learning lines of
`rl-….jsonl`, and what was rejected lines of `rejected.jsonl`, each with what was found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import Output, ShardRecord
from openseek.config.quality import DecontaminationConfig
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.quality.decontamination import Decontaminator
from openseek.quality.tables import json_line, write_jsonl
from openseek.synthesis.drawing import Work
from openseek.synthesis.generate import Outcome
from openseek.synthesis.outcomes import read_answers
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument, render
from openseek.synthesis.summary import Summary
from openseek.synthesis.verification.cascade import verify
from openseek.synthesis.verification.findings import Verdicts, findings_of, flat, row_name
from openseek.synthesis.verification.rules import Finding

LISTING, REJECTED = "contamination.jsonl", "rejected.jsonl"


@dataclass(frozen=True)
class Checked:
    """A row with all that is known about it."""

    document: SourceDocument
    row: Row
    number: int
    text: str
    finding: Finding


def publish(ctx: StepContext[SynthesisConfig], work: Sequence[Work]) -> dict[str, Any]:
    """Check the rows of all answered pieces of work and publish them.

    Returns:
        The step's metrics.
    """
    verdicts = verify(ctx, work)
    contaminated = judge_of(ctx)
    listing: list[dict[str, Any]] = []
    dropped = ctx.out.scratch / f"{os.getpid()}-{REJECTED}"
    done = ctx.out.shards()
    with dropped.open("w", encoding="utf-8") as rejected:
        for item in work:
            listing += write_shard(ctx, item, done, verdicts, contaminated, rejected)
    ctx.out.add(LISTING, write_jsonl(listing, ctx.out.scratch / f"{os.getpid()}-{LISTING}"))
    ctx.out.add(REJECTED, dropped)
    done = ctx.out.shards()
    totals = Summary.total(ctx.config, [done[w.name].stats for w in work])
    return totals | {"verification": verdicts.metrics}


def judge_of(ctx: StepContext[SynthesisConfig]) -> Decontaminator | None:
    """Make what finds evaluation items, where the step has them as input."""
    benchmarks = ctx.inputs.get("benchmarks")
    if benchmarks is None:
        return None
    from openseek.quality.decontamination import index_items
    from openseek.quality.items import load_items

    limits = ctx.config.decontamination or DecontaminationConfig()
    return Decontaminator(limits, index_items(load_items(benchmarks)[0], limits))


def write_shard(
    ctx: StepContext[SynthesisConfig], work: Work, done: Mapping[str, ShardRecord],
    verdicts: Verdicts, contaminated: Decontaminator | None, rejected: TextIO,
) -> list[dict[str, Any]]:  # fmt: skip
    """Publish one piece's rows that passed; write the others with their reasons.

    Returns:
        What they hold of evaluation items.
    """
    outcomes = read_answers(ctx.out.local(done[work.answers].files[0]))
    summary = Summary(work.recipe.name)
    kept: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    listing: list[dict[str, Any]] = []
    for outcome in outcomes:
        summary.outcome(outcome)
    for checked in _checked(work, outcomes, verdicts, ctx.out):
        made = _document(checked, work.recipe, ctx.config)
        finding = checked.finding
        if not finding.reason and contaminated is not None:
            matches = contaminated.check([checked.text])[0]
            if matches:
                finding = Finding("contaminated", finding.checks)
                listing += [{k: made[k] for k in ("id", "source")} | asdict(m) for m in matches]
        summary.row(checked.document, checked.row, checked.text, finding.reason)
        if finding.reason:
            rejected.write(json_line(_rejection(checked, finding, work.recipe, ctx.config)))
        elif checked.row.kind == "rl":
            tasks.append(_task(made, checked.row))
        else:
            kept.append(made)
    if work.name not in done:
        _commit(ctx.out, work, kept, tasks, summary)
    return listing


def _commit(
    out: Output, work: Work, kept: list[dict[str, Any]], tasks: list[dict[str, Any]],
    summary: Summary,
) -> None:  # fmt: skip
    path = out.scratch / f"{work.name}-{os.getpid()}.parquet"
    write_documents(path, kept)
    files = {f"{work.name}.parquet": path}
    if tasks:
        name = work.name.replace("synthetic", "rl", 1) + ".jsonl"
        files[name] = write_jsonl(tasks, out.scratch / f"{os.getpid()}-{name}")
    out.commit_shard(work.name, files, rows=len(kept), stats=summary.stats())


def _checked(
    work: Work, outcomes: Sequence[Outcome], verdicts: Verdicts, out: Output
) -> Iterator[Checked]:
    findings = findings_of(work, outcomes, verdicts, out)
    for (outcome, number), finding in zip(flat(outcomes), findings, strict=True):
        row, document = outcome.rows[number][0], outcome.document
        if row.kind != "tags":  # what others are made from, and no row of its own
            yield Checked(document, row, number, render(row, document.lang), finding)


def _document(checked: Checked, recipe: RecipeConfig, config: SynthesisConfig) -> dict[str, Any]:
    teacher, source, row = config.teacher, checked.document, checked.row
    return make_document(
        checked.text,
        source=f"synthetic-{recipe.name}",
        category=recipe.category,
        lang="zh-Hans" if source.lang == "zh" else "en",
        license=source.license,
        origin=f"{source.source}/{source.id}#{checked.number}",
        tier=source.tier if config.inherit_tier else "",
        meta={
            "teacher": "extractive" if teacher.kind == "extractive" else teacher.model,
            "recipe": recipe.name,
            "prompt_version": RECIPES[recipe.name].version,
            "source_id": source.id,
            "source": source.source,
            "kind": row.kind,
            "checks": checked.finding.checks,
            **({"domain": source.domain} if source.domain else {}),
            **({"query": row.query, "answer": row.answer} if row.kind != "text" else {}),
            **({"steps": list(row.steps)} if row.steps else {}),
            **({"final": row.final} if row.final else {}),
            **row.extra,
        },
    )


def _task(made: dict[str, Any], row: Row) -> dict[str, Any]:
    """Write a task for reinforcement learning: what is asked, and what decides if it is solved."""
    about = {key: made[key] for key in ("id", "source", "lang", "license", "origin", "meta")}
    return about | {
        "query": row.query, "answer": row.answer, "final": row.final, "tests": row.tests
    }  # fmt: skip


def _rejection(
    checked: Checked, finding: Finding, recipe: RecipeConfig, config: SynthesisConfig
) -> dict[str, Any]:
    limit = config.verification.rejected_chars
    return {
        "row": row_name(recipe.name, checked.document, checked.number),
        "recipe": recipe.name, "source_id": checked.document.id, "source": checked.document.source,
        "lang": checked.document.lang, "kind": checked.row.kind, "reason": finding.reason,
        "checks": finding.checks, "details": finding.details,
        "query": checked.row.query[:limit], "text": checked.text[:limit],
    }  # fmt: skip
