"""The judge's pass: a sample of each piece is graded, one piece after the other (`judged-…`)."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import ShardRecord
from openseek.compute import map_shards
from openseek.config.synthesis import SynthesisConfig
from openseek.quality.tables import write_jsonl
from openseek.synthesis.drawing import Work
from openseek.synthesis.generate import Outcome
from openseek.synthesis.outcomes import read_answers
from openseek.synthesis.rows import Row, SourceDocument
from openseek.synthesis.session import Asking, current
from openseek.synthesis.teachers import build_teacher
from openseek.synthesis.verification.duplicates import EXACT, NEAR
from openseek.synthesis.verification.findings import (
    Verdicts,
    findings_of,
    flat,
    read_findings,
    row_name,
)
from openseek.synthesis.verification.judge import agreement, judge
from openseek.synthesis.verification.rules import Finding


def judge_sample(
    ctx: StepContext[SynthesisConfig], work: Sequence[Work], done: dict[str, ShardRecord],
    verdicts: Verdicts,
) -> None:  # fmt: skip
    """Have a sample graded, one piece after the other; requests of a piece go out together."""
    config = ctx.config.verification.judge
    assert config is not None
    told: dict[str, list[tuple[str, int]]] = {}
    usage: Counter[str] = Counter()
    teacher = config.teacher or ctx.config.teacher
    judged = [record for name, record in done.items() if name.startswith("judged-")]
    size = ctx.config.shard_documents
    with Asking(teacher, ctx, judged, size, otherwise=map_shards):
        for item in work:
            shard = item.name.replace("synthetic", "judged", 1)
            verdicts.judged[item.name] = done.get(shard) or _piece(ctx, item, shard, done, verdicts)
    for item in work:
        record = verdicts.judged[item.name]
        usage.update(record.stats["usage"])
        for raw in read_findings(ctx.out, record).values():
            told.setdefault(item.recipe.name, []).append((raw["reason"], raw["grade"]))
    everything = [verdict for rows in told.values() for verdict in rows]
    verdicts.metrics["judge"] = agreement(everything, config.min_grade) | {
        "by_recipe": {name: agreement(rows, config.min_grade) for name, rows in told.items()},
        "model": "extractive" if teacher.kind == "extractive" else teacher.model,
        "usage": dict(sorted(usage.items())),
    }


def _piece(
    ctx: StepContext[SynthesisConfig], item: Work, shard: str, done: dict[str, ShardRecord],
    verdicts: Verdicts,
) -> ShardRecord:  # fmt: skip
    outcomes = read_answers(ctx.out.local(done[item.answers].files[0]))
    rows = _sampled(item, outcomes, findings_of(item, outcomes, verdicts, ctx.out), ctx)
    lines, spent = _graded(rows, ctx.config) if rows else ([], {})
    path = write_jsonl(lines, ctx.out.scratch / f"{shard}-{os.getpid()}.jsonl")
    return ctx.out.commit_shard(
        shard, {f"{shard}.jsonl": path}, rows=len(lines), stats={"usage": spent}, final=False
    )


_Sampled = tuple[int, str, SourceDocument, Row]


def _sampled(
    item: Work, outcomes: Sequence[Outcome], findings: Sequence[Finding],
    ctx: StepContext[SynthesisConfig],
) -> list[_Sampled]:  # fmt: skip
    config = ctx.config.verification.judge
    assert config is not None
    rows = []
    for i, (outcome, number) in enumerate(flat(outcomes)):
        row, reason = outcome.rows[number][0], findings[i].reason
        if row.kind == "tags" or reason in (EXACT, NEAR) or (reason and not config.rejected):
            continue
        name = row_name(item.recipe.name, outcome.document, number)
        digest = hashlib.blake2b(f"{ctx.seed}/judge/{name}".encode(), digest_size=8).digest()
        if int.from_bytes(digest, "big") < config.share * 2**64:
            rows.append((i, reason, outcome.document, row))
    return rows


def _graded(
    rows: Sequence[_Sampled], config: SynthesisConfig
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    wanted = config.verification.judge
    assert wanted is not None
    given, session = [(d, r) for _, _, d, r in rows], current()
    if session is not None:
        grades, usage = session.run(judge(given, wanted, session.teacher))
    else:
        grades, usage = asyncio.run(judge(given, wanted, build_teacher(config.teacher)))
    return [
        {"row": i, "reason": reason, "grade": g.grade, "said": g.said,
         "bad": 0 < g.grade < wanted.min_grade}
        for (i, reason, _, _), g in zip(rows, grades, strict=True)
    ], usage  # fmt: skip
