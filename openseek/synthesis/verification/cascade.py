"""The checks in their order: which rows meet which, resumable piece by piece.

    in the workers that ask         length, language, stands_alone, copied    (rules)
    here, over all rows             near_duplicate                            (duplicates)
    in workers, piece by piece      mathematics, code, reward                 (`checked-…`)
    here, over all rows             the rewards' quantile of each domain
    here, a sample of each piece    judge                                     (`judged-…`)
    where rows are written          decontamination                           (writing)

What a row failed ends it, so a dear check sees only what the cheap ones let through. Files of
findings are intermediate: a restarted step reads those that are there. Memory holds some hundred
bytes a row, never its text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileRecord, Output, ShardRecord
from openseek.compute import map_shards
from openseek.config.synthesis import SynthesisConfig
from openseek.config.verification import VerificationConfig
from openseek.mathematics import MathPool
from openseek.quality.tables import write_jsonl
from openseek.synthesis.drawing import Work
from openseek.synthesis.outcomes import read_answers
from openseek.synthesis.rows import Row, render
from openseek.synthesis.verification import reward
from openseek.synthesis.verification.code import check_code
from openseek.synthesis.verification.duplicates import NearDuplicates
from openseek.synthesis.verification.findings import Verdicts, flat, read_findings, row_name
from openseek.synthesis.verification.judging import judge_sample
from openseek.synthesis.verification.mathematics import check_finals
from openseek.synthesis.verification.rules import Finding
from openseek.synthesis.verification.sandbox import enforceable


@dataclass(frozen=True)
class Piece:
    """The rows of one piece of work that meet the dear checks."""

    work: str
    answers: FileRecord
    rows: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the shard of its findings."""
        return self.work.replace("synthetic", "checked", 1)


def verify(ctx: StepContext[SynthesisConfig], work: Sequence[Work]) -> Verdicts:
    """Run all checks but decontamination on the answered pieces of work."""
    config, verdicts = ctx.config.verification, Verdicts()
    done = ctx.out.shards()
    pieces = _repeats(ctx, work, done, verdicts)
    todo = [p for p in pieces if p.name not in done]
    map_shards(
        _check_piece, todo, runtime=ctx.runtime, args=(ctx.out, config),
        progress=ctx.progress, unit="pieces checked", done_before=len(pieces) - len(todo),
        gpu=config.reward is not None,
    )  # fmt: skip
    if pieces:
        done = ctx.out.shards()
        verdicts.checked = {p.work: done[p.name] for p in pieces}
    if config.reward is not None:
        _cut(ctx, work, done, verdicts)
    if config.judge is not None:
        judge_sample(ctx, work, done, verdicts)
    totals = [record.stats for record in verdicts.checked.values()]
    verdicts.metrics |= {
        "checks": list(config.checks()),
        "undecided": sum(s["undecided"] for s in totals),
    }
    if sandboxes := [s["sandbox"] for s in totals if s["sandbox"]]:
        verdicts.metrics["sandbox"] = sandboxes[0]
    return verdicts


def _repeats(
    ctx: StepContext[SynthesisConfig], work: Sequence[Work], done: dict[str, ShardRecord],
    verdicts: Verdicts,
) -> list[Piece]:  # fmt: skip
    """Find repetitions among all rows that passed the cheap checks; list what is checked next."""
    config = ctx.config.verification
    duplicates = NearDuplicates(config.near_duplicate, ctx.out.scratch)
    places: dict[str, list[int]] = {}
    dear: dict[str, list[int]] = {}
    names: list[str] = []
    for item in work:
        outcomes = read_answers(ctx.out.local(done[item.answers].files[0]))
        texts = []
        places[item.name], dear[item.name] = [], []
        for i, (outcome, number) in enumerate(flat(outcomes)):
            row, reason = outcome.rows[number]
            if reason or row.kind == "tags":
                continue
            texts.append(row.text if row.kind == "text" else f"{row.query}\n{row.answer}")
            names.append(row_name(item.recipe.name, outcome.document, number))
            places[item.name].append(i)
            if _is_dear(row, config):
                dear[item.name].append(i)
        duplicates.add(texts)
    found = iter(duplicates.repeats())
    pieces = []
    for item in work:
        mine = {i: next(found) for i in places[item.name]}
        told = [("", "", 0.0)] * (max(mine, default=-1) + 1)
        for i, (kind, other, similarity) in mine.items():
            told[i] = (kind, names[other] if other >= 0 else "", similarity)
        verdicts.repeats[item.name] = told
        rows = tuple(i for i in dear[item.name] if not mine[i][0])
        if rows:
            pieces.append(Piece(item.name, done[item.answers].files[0], rows))
    return pieces


def _is_dear(row: Row, config: VerificationConfig) -> bool:
    finals = config.mathematics.enabled and bool(row.final)
    return finals or (config.code.enabled and bool(row.tests)) or config.reward is not None


def _check_piece(piece: Piece, out: Output, config: VerificationConfig) -> None:
    """Check one piece's rows by rule, in the sandbox and by the reward model."""
    outcomes = read_answers(out.local(piece.answers))
    wanted = set(piece.rows)
    rows = [
        (i, *o.rows[n][:1], o.document) for i, (o, n) in enumerate(flat(outcomes)) if i in wanted
    ]
    findings = {i: Finding() for i, _, _ in rows}
    with MathPool(config.mathematics.workers, cpu_s=config.mathematics.cpu_s) as pool:
        finals = [(i, r) for i, r, _ in rows if config.mathematics.enabled and r.final]
        checked = check_finals([r for _, r in finals], config.mathematics, pool)
        findings |= {i: f for (i, _), f in zip(finals, checked, strict=True)}
    sandbox: dict[str, str] = {}
    for i, row, _ in rows:
        if config.code.enabled and row.tests and not findings[i].reason:
            findings[i] = _joined(findings[i], check_code(row, config.code))
            sandbox = enforceable()
    if config.reward is not None:
        left = [(i, r, d) for i, r, d in rows if not findings[i].reason]
        scores = reward.rewards([(r, render(r, d.lang)) for _, r, d in left], config.reward)
        for (i, _, _), score in zip(left, scores, strict=True):
            findings[i] = _joined(findings[i], Finding("", {"reward": score}))
    lines = [{"row": i, **asdict(findings[i])} for i in sorted(findings)]
    path = write_jsonl(lines, out.scratch / f"{piece.name}-{os.getpid()}.jsonl")
    undecided = sum(f.reason == "final_undecided" for f in findings.values())
    stats = {"undecided": undecided, "sandbox": sandbox}
    out.commit_shard(
        piece.name, {f"{piece.name}.jsonl": path}, rows=len(lines), stats=stats, final=False
    )


def _joined(first: Finding, then: Finding) -> Finding:
    return Finding(then.reason, first.checks | then.checks, first.details | then.details)


def _cut(
    ctx: StepContext[SynthesisConfig], work: Sequence[Work], done: dict[str, ShardRecord],
    verdicts: Verdicts,
) -> None:  # fmt: skip
    assert ctx.config.verification.reward is not None
    scores: dict[str, tuple[str, float]] = {}
    for item in work:
        checked = read_findings(ctx.out, verdicts.checked.get(item.name))
        outcomes = read_answers(ctx.out.local(done[item.answers].files[0])) if checked else []
        for i, (outcome, number) in enumerate(flat(outcomes)):
            if i in checked and "reward" in checked[i]["checks"] and not checked[i]["reason"]:
                name = row_name(item.recipe.name, outcome.document, number)
                scores[name] = (outcome.document.domain, checked[i]["checks"]["reward"])
    verdicts.gone, limits = reward.worst(scores, ctx.config.verification.reward)
    verdicts.metrics["reward"] = {
        "rows": len(scores), "rejected": len(verdicts.gone), "lowest_kept": limits,
        "model": ctx.config.verification.reward.model,
    }  # fmt: skip
