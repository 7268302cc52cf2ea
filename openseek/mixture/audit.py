"""What a mixture really holds: shares by category, source, language, tier and domain.

Works on a stage's plan, and on a plain list of names and weights such as the 84 pairs of OpenSeek's
100B recipe, whose 64.5 % of chain of thought nobody saw for want of a sum.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openseek.config.mixture import AuditLimits, MixStepConfig
from openseek.corpus.document import CATEGORIES
from openseek.errors import DataError
from openseek.mixture.plan import Bucket, Finding, StagePlan

Shares = dict[str, dict[str, float]]
"""category | source | lang | tier | domain | group -> name -> share of the tokens."""

_LABELS = ("category", "source", "lang", "tier", "domain")
_FROM_DATA = Finding(
    "from_data", "", 0.0, 0.0, "the weights come from the data: run it, then look at the step mix"
)
_TITLES = {"cot": "chain of thought"}

# First match decides: chain of thought *about* code or arXiv is still chain of thought.
_CATEGORY_PATTERNS = (
    ("cot", r"(?<![a-z])cots?(?![a-z])|chain.?of.?thought|reasoning"),
    ("math", r"math|gsm8k|proof"),
    ("code", r"code|github|the-?stack|stack-?v\d"),
)
_CHINESE = r"(?<![a-z])(zh|cn|chinese|cci\d*)(?![a-z])"
_TIER = re.compile(r"-(high|mid|medium|medidum|low)(-loss\d)?$")
_TIERS = {"mid": "medium", "medidum": "medium"}


@dataclass(frozen=True)
class AuditReport:
    """Shares of a mixture and what is odd about them.

    Attributes:
        entries: Weights, groups or stages that were summed.
        total_weight: Sum of the weights as given.
        shares: Share of the tokens by category, source, lang, tier and, where documents are
            labelled with it, domain.
        findings: What is unusual.
        stages: The reports of a curriculum's stages; `shares` is then over all of its tokens.
    """

    entries: int
    total_weight: float
    shares: Shares
    findings: tuple[Finding, ...]
    stages: dict[str, AuditReport] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return {
            "entries": self.entries,
            "total_weight": self.total_weight,
            "shares": self.shares,
            "findings": [asdict(f) for f in self.findings],
            "stages": {name: report.to_json() for name, report in self.stages.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.entries} entries, weights sum to {self.total_weight:.6g}"]
        for label, by_name in self.shares.items():
            largest = list(by_name.items())[:8]
            told = ", ".join(f"{name or '-'} {100 * share:.1f} %" for name, share in largest)
            more = f", and {len(by_name) - 8} more" if len(by_name) > 8 else ""
            lines.append(f"{label:<9} {told}{more}")
        lines += [f"warning   {finding.message}" for finding in self.findings]
        for name, report in self.stages.items():
            lines += ["", f"stage {name}: {report}"]
        return "\n".join(lines)


def audit(
    weights: Mapping[str, float] | Path | str, limits: AuditLimits | None = None
) -> AuditReport:
    """Audit a run's configuration, or a list of weights by the names of what they weigh.

    Args:
        weights: Name -> weight, or a file: a run's YAML; CSV with a header (`weight` and one of
            `subset`, `name`, `source`, `path`, `file`); or lines of a name and a weight in any
            order.
        limits: When to warn; a configuration has its own.

    Raises:
        ConfigError: The configuration has mistakes.
        DataError: The file cannot be read as such a list, or a weight is no number.
    """
    if not isinstance(weights, Mapping) and Path(weights).suffix in (".yaml", ".yml"):
        from openseek.config.load import load_config

        config = load_config(weights)
        return audit_stages([config.mix_step(stage) for stage in config.stage_names()])
    pairs = list(weights.items()) if isinstance(weights, Mapping) else read_weights(Path(weights))
    for name, weight in pairs:
        if not (math.isfinite(weight) and weight >= 0):
            raise DataError(f"the weight of {name!r} is {weight}", mend="Give numbers from 0 up.")
    total = math.fsum(weight for _, weight in pairs)
    if total <= 0:
        raise DataError("the weights sum to 0", mend="Give at least one weight above 0.")
    labelled = [(classify(name), weight / total) for name, weight in pairs]
    shares = sum_shares(labelled)
    findings = judge(shares, _cot_sources(labelled), limits or AuditLimits())
    return AuditReport(len(pairs), total, shares, tuple(findings))


def audit_stages(stages: Sequence[MixStepConfig]) -> AuditReport:
    """Audit a curriculum by its configured weights, before there is any data."""
    reports: dict[str, AuditReport] = {}
    labelled: list[tuple[Bucket, float]] = []
    tokens = sum(stage.tokens for stage in stages)
    for stage in stages:
        weights = {name: float(g.weight or 0.0) for name, g in stage.mixture.groups.items()}
        total = math.fsum(weights.values())
        mine = [
            (Bucket(name, str(g.category), "/".join(g.lang), "/".join(g.tier), 0), w / total)
            for (name, g), w in zip(stage.mixture.groups.items(), weights.values(), strict=True)
        ]
        labelled += [(bucket, share * stage.tokens / tokens) for bucket, share in mine]
        shares = _by_group(mine)
        limits = stage.mixture.limits
        findings = judge({**shares, "source": {}}, {}, limits) if mine else [_FROM_DATA]
        reports[stage.stage] = AuditReport(len(mine), total, shares, tuple(findings))
    return AuditReport(len(stages), float(tokens), _by_group(labelled), (), reports)


def _by_group(labelled: Iterable[tuple[Bucket, float]]) -> Shares:
    shares = sum_shares(labelled)
    return {"category": shares["category"], "group": shares["source"]}


def audit_plan(plan: StagePlan, buckets: Sequence[Bucket], limits: AuditLimits) -> AuditReport:
    """Audit what a stage's plan draws."""
    labelled = [
        (buckets[i], group.weight * buckets[i].tokens / group.available_tokens)
        for group in plan.groups
        for i in group.buckets
    ]
    shares = sum_shares(labelled)
    findings = (*plan.findings, *judge(shares, _cot_sources(labelled), limits))
    return AuditReport(len(plan.groups), 1.0, shares, findings)


def classify(name: str) -> Bucket:
    """Tell labels from the name of a data set or file; what fits no pattern is foundation."""
    plain = name.strip().removesuffix("_text_document")
    head = plain.split("/")[0] if not plain.startswith("/") else plain.rsplit("/", 1)[-1]
    lower = head.lower()
    category = next(
        (c for c, pattern in _CATEGORY_PATTERNS if re.search(pattern, lower)), "foundation"
    )
    found = _TIER.search(lower)
    tier = _TIERS.get(found.group(1), found.group(1)) if found else ""
    lang = "zh" if re.search(_CHINESE, lower) else "code" if category == "code" else "en"
    return Bucket(head[: found.start()] if found else head, category, lang, tier, 0)


def sum_shares(labelled: Iterable[tuple[Bucket, float]]) -> Shares:
    """Sum shares by each label, largest first."""
    sums: Shares = {label: {} for label in _LABELS}
    for bucket, share in labelled:
        for label in _LABELS:
            name = getattr(bucket, label)
            sums[label][name] = sums[label].get(name, 0.0) + share
    if not any(sums["domain"]):  # unlabelled throughout
        del sums["domain"]
    return {
        label: dict(sorted(by_name.items(), key=lambda item: (-item[1], item[0])))
        for label, by_name in sums.items()
    }


def judge(shares: Shares, cot_sources: Mapping[str, float], limits: AuditLimits) -> list[Finding]:
    """Compare shares with the limits.

    Args:
        shares: By category and source, at least.
        cot_sources: Share of each source within chain of thought, of all tokens.
        limits: When to warn.
    """
    findings = []
    for category in CATEGORIES:
        low, high = limits.ranges.get(category, (0.0, 1.0))
        share = shares["category"].get(category, 0.0)
        title = _TITLES.get(category, category)
        told = (
            f"{100 * share:.1f} % of the tokens are {title}; "
            f"usual is {100 * low:g} to {100 * high:g} %"
        )
        if share > high:
            findings.append(Finding("category_high", category, share, high, told))
        elif share < low:
            findings.append(Finding("category_low", category, share, low, told))
    for source, share in shares["source"].items():
        of_cot = cot_sources.get(source, 0.0)
        limit = limits.cot_source if of_cot > share / 2 else limits.source
        if share > limit:
            kind = " of chain of thought" if of_cot > share / 2 else ""
            told = (
                f"{100 * share:.1f} % of the tokens come from one source{kind}, {source}; "
                f"usual is up to {100 * limit:g} %"
            )
            findings.append(Finding("source_high", source, share, limit, told))
    return findings


def _cot_sources(labelled: Iterable[tuple[Bucket, float]]) -> dict[str, float]:
    return sum_shares((b, share) for b, share in labelled if b.category == "cot")["source"]


def read_weights(path: Path) -> list[tuple[str, float]]:
    """Read a list of names and weights.

    Raises:
        DataError: A line has no name or no weight.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot be read: {error}", where=str(path), mend="Check the path."
        ) from error
    if not lines:
        raise DataError("the file is empty", where=str(path), mend="Give lines of name,weight.")
    header = [cell.strip().lower() for cell in lines[0].split(",")]
    if "weight" in header:
        return _read_table(path, lines, header)
    return [_read_pair(path, number, line) for number, line in enumerate(lines, start=1)]


def _read_table(path: Path, lines: Sequence[str], header: Sequence[str]) -> list[tuple[str, float]]:
    names = [c for c in ("subset", "name", "source", "path", "file") if c in header]
    if not names:
        raise DataError(
            f"no column with names among {', '.join(header)}",
            where=str(path),
            mend="Call one of them subset, name, source, path or file.",
        )
    pairs = []
    for number, row in enumerate(csv.DictReader(lines[1:], fieldnames=list(header)), start=2):
        try:
            pairs.append((row[names[0]], float(row["weight"])))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"the weight is {row.get('weight')!r}",
                where=f"{path}:{number}",
                mend="Give a number.",
            ) from error
    return pairs


def _read_pair(path: Path, number: int, line: str) -> tuple[str, float]:
    cells = [c.strip() for c in re.split(r"[,\s]+", line.strip()) if c.strip()]
    if len(cells) == 2:
        for name, weight in (cells, reversed(cells)):
            try:
                return str(name), float(weight)
            except ValueError:
                continue
    raise DataError(
        f"expected a name and a weight, got {line.strip()[:80]!r}",
        where=f"{path}:{number}",
        mend="Write one pair a line, or a CSV with the columns name and weight.",
    )
