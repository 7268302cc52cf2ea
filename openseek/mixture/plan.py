"""From weights and available tokens to exact numbers of sequences: what a stage will read.

Needs token counts only, so `openseek plan` can call it with estimates before any data exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from openseek.config.mixture import GroupConfig, MixStepConfig
from openseek.corpus.document import CATEGORIES
from openseek.errors import ConfigError
from openseek.units import format_count


@dataclass(frozen=True)
class Bucket:
    """Documents with the same labels, and how many tokens they hold."""

    source: str
    category: str
    lang: str
    tier: str
    tokens: int
    domain: str = ""


@dataclass(frozen=True)
class Finding:
    """Something about a mixture that a person should look at.

    Attributes:
        code: Kind, for scripts: `category_high`, `category_low`, `source_high`, `epochs_high`,
            `no_data`, `exhausted`, `unused`, `from_data`.
        subject: Category, source or group that it is about.
        value: The measured value.
        limit: The limit that it passes.
        message: All of it in a sentence.
    """

    code: str
    subject: str
    value: float
    limit: float
    message: str


@dataclass(frozen=True)
class GroupPlan:
    """What a stage draws from one group.

    Attributes:
        name: Name of the group.
        category: Category of its documents.
        weight_target: Configured share of the stage's tokens, after normalisation.
        weight: Share that it gets, after rounding to sequences and redistribution.
        sequences: Sequences drawn in the stage.
        tokens: Tokens drawn (sequences times their length).
        available_tokens: Tokens that the group's documents hold.
        available_sequences: Different sequences that they make.
        epochs: Passes over them.
        buckets: Positions of its buckets in the list that was planned with.
    """

    name: str
    category: str
    weight_target: float
    weight: float
    sequences: int
    tokens: int
    available_tokens: int
    available_sequences: int
    epochs: float
    buckets: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class StagePlan:
    """What a stage reads: exact sequences by group, and what gave way on the way there."""

    stage: str
    sequence_length: int
    n_sequences: int
    tokens: int
    groups: tuple[GroupPlan, ...]
    findings: tuple[Finding, ...]


@dataclass
class _Group:
    """A group while its share is worked out."""

    name: str
    config: GroupConfig
    weight: float
    buckets: list[int] = field(default_factory=list)
    available: int = 0

    def sequences(self, length: int) -> int:
        # Neighbours share one token: the last target of one is the first input of the next.
        return max(0, (self.available - 1) // length)


def plan_stage(
    config: MixStepConfig, buckets: Sequence[Bucket], *, strict: bool = True
) -> StagePlan:
    """Work out how many sequences of each group a stage reads.

    Args:
        config: Stage, tokens, sequence length and mixture.
        buckets: What there is; from an index, or estimated.
        strict: Fail when a group has too little data; otherwise only report it, for estimates.

    Raises:
        ConfigError: A group has no or too little data, or two groups claim the same documents.
    """
    where = f"stages.{config.stage}.mixture"
    length = config.sequence_length
    total = config.tokens // length
    findings: list[Finding] = []
    groups = _groups(config, buckets, where)
    _require_domains(groups, buckets, where)
    _claim(groups, buckets, where, findings)
    targets = {g.name: g.weight for g in groups}
    groups = _without_empty(groups, length, where, strict, findings)
    shares = _within_caps(groups, config, total, where, strict, findings)
    counts = apportion(shares, total)
    caps = _caps(groups, config)
    if config.mixture.on_exhausted == "redistribute":
        counts = _trim(counts, caps)
    plans = []
    for group in groups:
        n = counts[group.name]
        available = group.sequences(length)
        plans.append(
            GroupPlan(
                name=group.name,
                category=str(group.config.category),
                weight_target=targets[group.name],
                weight=n / total,
                sequences=n,
                tokens=n * length,
                available_tokens=group.available,
                available_sequences=available,
                epochs=n / available if available else 0.0,
                buckets=tuple(group.buckets),
            )
        )
    return StagePlan(config.stage, length, total, total * length, tuple(plans), tuple(findings))


def apportion(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Round shares to whole numbers that add up to `total` (largest remainders first)."""
    whole = math.fsum(shares.values())
    exact = {name: share / whole * total for name, share in shares.items()}
    counts = {name: math.floor(value) for name, value in exact.items()}
    left = total - sum(counts.values())
    by_rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_rest[:left]:
        counts[name] += 1
    return counts


def fits(group: GroupConfig, bucket: Bucket) -> bool:
    """Tell whether a group selects a bucket."""
    return (
        group.category == bucket.category
        and (not group.source or bucket.source in group.source)
        and (not group.tier or bucket.tier in group.tier)
        and (not group.domain or bucket.domain in group.domain)
        and (not group.lang or any(_speaks(bucket.lang, lang) for lang in group.lang))
    )


def _speaks(lang: str, wanted: str) -> bool:
    return lang == wanted or lang.startswith(f"{wanted}-")


def _groups(config: MixStepConfig, buckets: Sequence[Bucket], where: str) -> list[_Group]:
    mixture = config.mixture
    if mixture.preset == "natural":
        tokens = {c: sum(b.tokens for b in buckets if b.category == c) for c in CATEGORIES}
        total = sum(tokens.values())
        if not total:
            raise ConfigError("there are no tokens at all", where=where, mend="Look at the data.")
        return [
            _Group(c, GroupConfig(category=c), tokens[c] / total) for c in CATEGORIES if tokens[c]
        ]
    weights = {name: float(g.weight or 0.0) for name, g in mixture.groups.items()}
    total_weight = math.fsum(weights.values())
    return [
        _Group(name, mixture.groups[name], weights[name] / total_weight) for name in sorted(weights)
    ]


def _require_domains(groups: Sequence[_Group], buckets: Sequence[Bucket], where: str) -> None:
    """Refuse groups that select by domain what carries none, or that name no domain there is."""
    known = sorted({b.domain for b in buckets} - {""})
    for group in groups:
        if not group.config.domain or (known and group.config.optional):
            continue
        if not known:
            raise ConfigError(
                f"group {group.name!r} selects by domain, and no document is labelled with one",
                where=f"{where}.groups.{group.name}.domain",
                mend="Set quality.domains.enabled and tokens.domains to true and run from the step "
                "score on, or take the condition out.",
            )
        if not set(known).intersection(group.config.domain):
            raise ConfigError(
                f"group {group.name!r} selects the domains {', '.join(group.config.domain)}, and "
                "no document is of one",
                where=f"{where}.groups.{group.name}.domain",
                mend=f"Choose of {', '.join(known)}, or set the group's `optional`.",
            )


def _conditions(group: GroupConfig) -> int:
    return sum(map(bool, (group.source, group.tier, group.lang, group.domain)))


def _claim(
    groups: Sequence[_Group], buckets: Sequence[Bucket], where: str, findings: list[Finding]
) -> None:
    """Give each bucket to the most specific group that fits it."""
    unused = 0
    for number, bucket in enumerate(buckets):
        fitting = [g for g in groups if fits(g.config, bucket)]
        if not fitting:
            unused += bucket.tokens
            continue
        ranks = [_conditions(g.config) for g in fitting]
        best = [g for g, rank in zip(fitting, ranks, strict=True) if rank == max(ranks)]
        if len(best) > 1:
            raise ConfigError(
                f"documents of source {bucket.source!r} ({bucket.lang}, tier {bucket.tier!r}, "
                f"domain {bucket.domain!r}) "
                f"belong to the groups {best[0].name!r} and {best[1].name!r} alike",
                where=where,
                mend="Give one of them a further condition (source, lang, tier or domain).",
            )
        best[0].buckets.append(number)
        best[0].available += bucket.tokens
    if unused:
        share = unused / sum(b.tokens for b in buckets)
        findings.append(
            Finding(
                "unused", "", share, 0.0,
                f"{100 * share:.1f} % of the tokens ({format_count(unused)}) are in no group",
            )
        )  # fmt: skip


def _without_empty(
    groups: Sequence[_Group], length: int, where: str, strict: bool, findings: list[Finding]
) -> list[_Group]:
    """Take out groups that make no sequence; their weight goes to their category, or to all."""
    kept = [g for g in groups if g.weight > 0 and g.sequences(length) > 0]
    for group in groups:
        if group.weight == 0 or group.sequences(length) > 0:
            continue
        told = (
            f"group {group.name!r} has {group.available} tokens, which make no sequence of "
            f"{length}: its weight of {group.weight:.3g} goes to the other groups"
        )
        if not kept or (strict and not group.config.optional):
            raise ConfigError(
                f"group {group.name!r} has {group.available} tokens, which make no sequence of "
                f"{length}",
                where=f"{where}.groups.{group.name}",
                mend="Check what it selects against the data, take it out, or set its `optional`.",
            )
        findings.append(Finding("no_data", group.name, 0.0, group.weight, told))
        heirs = [g for g in kept if g.config.category == group.config.category] or kept
        whole = math.fsum(g.weight for g in heirs)
        gifts = {g.name: group.weight * g.weight / whole for g in heirs}
        kept = [replace(g, weight=g.weight + gifts.get(g.name, 0.0)) for g in kept]
    return kept


def _caps(groups: Sequence[_Group], config: MixStepConfig) -> dict[str, int]:
    return {
        g.name: math.floor(config.mixture.max_epochs * g.sequences(config.sequence_length))
        for g in groups
    }


def _within_caps(
    groups: Sequence[_Group], config: MixStepConfig, total: int, where: str, strict: bool,
    findings: list[Finding],
) -> dict[str, float]:  # fmt: skip
    """Apply the limit of repetition by the configured policy; returns shares."""
    caps = _caps(groups, config)
    shares = {g.name: g.weight for g in groups}
    counts = apportion(shares, total)
    over = [g for g in groups if counts[g.name] > caps[g.name]]
    policy = config.mixture.on_exhausted
    for group in over:
        epochs = counts[group.name] / group.sequences(config.sequence_length)
        limit = config.mixture.max_epochs
        held = f"{format_count(group.available)} tokens"
        if policy == "error" and strict:
            raise ConfigError(
                f"group {group.name!r} would pass {epochs:.1f} times over its {held}, more than "
                f"max_epochs = {limit:g}",
                where=f"{where}.groups.{group.name}",
                mend=f"Lower its weight to {caps[group.name] / total:.3g}, add data, raise "
                "max_epochs, or set on_exhausted to `repeat` or `redistribute`.",
            )
        if policy == "redistribute":
            told = (
                f"group {group.name!r} stops at {limit:g} passes over its {held}, not {epochs:.1f}"
            )
            findings.append(Finding("exhausted", group.name, epochs, limit, told))
        else:
            told = (
                f"group {group.name!r} passes {epochs:.1f} times over its {held}, above {limit:g}"
            )
            findings.append(Finding("epochs_high", group.name, epochs, limit, told))
    if policy != "redistribute" or not over:
        return shares
    if sum(caps.values()) < total:
        most_tokens = sum(caps.values()) * config.sequence_length
        raise ConfigError(
            f"all groups together hold {format_count(most_tokens)} tokens at max_epochs = "
            f"{config.mixture.max_epochs:g}, the stage wants {format_count(config.tokens)}",
            where=where,
            mend="Lower the stage's tokens, add data, or raise max_epochs.",
        )
    return _redistribute(shares, {name: cap / total for name, cap in caps.items()})


def _redistribute(shares: Mapping[str, float], caps: Mapping[str, float]) -> dict[str, float]:
    """Cap shares; the rest keeps its proportions and takes what is left over."""
    capped: dict[str, float] = {}
    while True:
        free = {n: s for n, s in shares.items() if n not in capped}
        whole = math.fsum(free.values())
        left = 1.0 - math.fsum(capped.values())
        scaled = {n: s / whole * left for n, s in free.items()} if whole else {}
        over = {n: caps[n] for n, s in scaled.items() if s > caps[n]}
        if not over:
            return capped | scaled
        capped |= over


def _trim(counts: Mapping[str, int], caps: Mapping[str, int]) -> dict[str, int]:
    """Move the few sequences that rounding put above a cap to groups with room."""
    trimmed = {n: min(c, caps[n]) for n, c in counts.items()}
    left = sum(counts.values()) - sum(trimmed.values())
    for name in sorted(trimmed, key=lambda n: (trimmed[n] - caps[n], n)):
        moved = min(left, caps[name] - trimmed[name])
        trimmed[name] += moved
        left -= moved
    return trimmed
