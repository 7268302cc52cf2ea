"""What the checks found about the rows of a piece of work, put together in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from openseek.artifacts.files import Output, ShardRecord
from openseek.synthesis.drawing import Work
from openseek.synthesis.generate import Outcome
from openseek.synthesis.rows import SourceDocument
from openseek.synthesis.verification.rules import Finding

REWARD, JUDGE = "low_reward", "judged_bad"


@dataclass
class Verdicts:
    """What the cascade found about all rows.

    Attributes:
        repeats: Piece -> row -> kind of repetition, the earlier row's name, similarity.
        checked: Piece -> row -> finding of mathematics, code and reward model.
        gone: Names of the rows that their domain's quantile of rewards removes.
        judged: Piece -> row -> grade and reason.
        metrics: For the report.
    """

    repeats: dict[str, list[tuple[str, str, float]]] = field(default_factory=dict)
    checked: dict[str, ShardRecord] = field(default_factory=dict)
    judged: dict[str, ShardRecord] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    metrics: dict[str, Any] = field(default_factory=dict)


def row_name(recipe: str, document: SourceDocument, number: int) -> str:
    """Name a row for people and for draws: recipe, document, its number among the document's."""
    return f"{recipe}/{document.id}#{number}"


def flat(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, int]]:
    """Yield the rows of a piece in order, each as its outcome and its number in it."""
    for outcome in outcomes:
        for number in range(len(outcome.rows)):
            yield outcome, number


def read_findings(out: Output, record: ShardRecord | None) -> dict[int, dict[str, Any]]:
    """Read a piece's file of findings: row -> what was found; empty without one."""
    if record is None:
        return {}
    lines = out.local(record.files[0]).read_text(encoding="utf-8").split("\n")
    return {raw["row"]: raw for raw in map(json.loads, filter(None, lines))}


def combined(
    name: str, outcome: Outcome, number: int, repeat: tuple[str, str, float],
    checked: dict[str, Any] | None, gone: set[str],
) -> Finding:  # fmt: skip
    """Put together what the checks before the judge found about one row."""
    reason = outcome.rows[number][1]
    first = outcome.checks[number] if number < len(outcome.checks) else {}
    checks = dict(first.get("checks", {}))
    if reason:
        return Finding(reason, checks, dict(first.get("details", {})))
    kind, other, similarity = repeat
    if kind:
        return Finding(kind, checks, {"of": other, "similarity": similarity})
    checks["near_duplicate"] = similarity
    if checked is not None:
        checks |= checked["checks"]
        if checked["reason"]:
            return Finding(checked["reason"], checks, checked["details"])
    if name in gone:
        return Finding(REWARD, checks)
    return Finding("", checks)


def findings_of(
    item: Work, outcomes: Sequence[Outcome], verdicts: Verdicts, out: Output
) -> list[Finding]:
    """List what the checks found about a piece's rows, the judge's opinion included."""
    checked = read_findings(out, verdicts.checked.get(item.name))
    judged = read_findings(out, verdicts.judged.get(item.name))
    told = verdicts.repeats[item.name]
    findings = []
    for i, (outcome, number) in enumerate(flat(outcomes)):
        name = row_name(item.recipe.name, outcome.document, number)
        repeat = told[i] if i < len(told) else ("", "", 0.0)
        finding = combined(name, outcome, number, repeat, checked.get(i), verdicts.gone)
        if (graded := judged.get(i)) and graded["grade"] and not finding.reason:
            checks = finding.checks | {"judge": graded["grade"]}
            bad = JUDGE if graded["bad"] else ""
            finding = Finding(bad, checks, {"judge_said": graded["said"]} if bad else {})
        findings.append(finding)
    return findings
