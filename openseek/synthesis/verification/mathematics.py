"""Rows with a short answer: what the worked answer concludes, and what the votes say, by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openseek.config.verification import MathematicsCheck
from openseek.mathematics import MathPool, concluded
from openseek.synthesis.rows import Row
from openseek.synthesis.verification.rules import Finding


def check_finals(rows: Sequence[Row], config: MathematicsCheck, pool: MathPool) -> list[Finding]:
    """Compare the short answers of rows (`final`) with their worked answers and their votes.

    Votes are `extra["votes"]`: the short answers of the solutions, as a list, or with the number
    of solutions that reach each. A worked answer counts where it names its conclusion (boxed, or
    "the answer is").

    Returns:
        For each row a finding: score `mathematics`, the share of votes that agree (1 without
        votes, absent where there was nothing to compare); reasons `final_differs`, `votes_differ`
        and `final_undecided` (algebra was killed).
    """
    pairs: list[tuple[str, str]] = []
    spans: list[tuple[str, list[tuple[str, float]], int]] = []
    for row in rows:
        votes = _votes(row.extra.get("votes"))
        told = concluded(row.answer)
        spans.append((told, votes, len(pairs)))
        pairs += [(told, row.final)] if told else []
        pairs += [(vote, row.final) for vote, _ in votes]
    compared = pool.compare(pairs)
    findings = []
    for row, (told, votes, at) in zip(rows, spans, strict=True):
        mine = compared[at : at + bool(told) + len(votes)]
        undecided = any(c.undecided for c in mine)
        if told and not mine[0].equal:
            reason = "final_undecided" if mine[0].undecided else "final_differs"
            findings.append(Finding(reason, details={"final": row.final, "told": told}))
            continue
        all_votes = sum(weight for _, weight in votes)
        agree = sum(w for (_, w), c in zip(votes, mine[bool(told) :], strict=True) if c.equal)
        share = round(agree / all_votes, 4) if all_votes else 1.0
        if share < config.min_agreement:
            reason = "final_undecided" if undecided else "votes_differ"
            findings.append(Finding(reason, details={"final": row.final, "agreement": share}))
        else:
            findings.append(Finding("", {"mathematics": share} if mine else {}))
    return findings


def _votes(raw: object) -> list[tuple[str, float]]:
    if isinstance(raw, Mapping):
        return [(str(k), float(v)) for k, v in raw.items() if isinstance(v, int | float)]
    if isinstance(raw, Sequence) and not isinstance(raw, str):
        return [(str(vote), 1.0) for vote in raw]
    return []
