"""The step that fixes what a stage reads and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import Json, sha256_file
from openseek.config.mixture import MixStepConfig
from openseek.errors import DataError
from openseek.mixture.audit import audit_plan
from openseek.mixture.plan import Bucket, StagePlan, plan_stage

MIXTURE_SCHEMA = 1


def mix(ctx: StepContext[MixStepConfig]) -> dict[str, Any]:
    """Write `mixture.json`: all that a stage's sampler needs beside the token shards.

    Inputs: `tokens` (output of `tokenise`; only its index is read).
    Output: mixture.json.

    Returns:
        stage, n_sequences, sequence_length, tokens, tokens_available, groups (name, category,
        weights, sequences, tokens, available tokens, epochs), shares (by category, source, lang,
        tier and, where documents are labelled, domain) and warnings.
    """
    config = ctx.config
    path = ctx.inputs["tokens"].local("index.json")
    index = json.loads(path.read_text(encoding="utf-8"))
    buckets, places = read_buckets(index)
    if not buckets:
        raise DataError("the token shards are empty", where=f"mix-{config.stage}")
    plan = plan_stage(config, buckets)
    report = audit_plan(plan, buckets, config.mixture.limits)
    for finding in report.findings:
        ctx.log.info("mixture stage=%s code=%s: %s", config.stage, finding.code, finding.message)
    metrics = {
        "stage": config.stage,
        "n_sequences": plan.n_sequences,
        "sequence_length": plan.sequence_length,
        "tokens": plan.tokens,
        "tokens_available": sum(b.tokens for b in buckets),
        "groups": [_group_json(group) for group in plan.groups],
        "shares": report.shares,
        "warnings": [asdict(f) for f in report.findings],
    }
    out = ctx.out.scratch / "mixture.json"
    recipe = _recipe(plan, config, index, places) | {"index_sha256": sha256_file(path)}
    text = json.dumps(recipe | {"audit": metrics}, ensure_ascii=False, sort_keys=True)
    out.write_text(text, encoding="utf-8")
    ctx.out.add("mixture.json", out, tokens=plan.tokens)
    ctx.progress(1, 1, "mixture")
    return metrics


@dataclass(frozen=True)
class Place:
    """Where tokens of a bucket lie: in a segment, all of it or the documents of one domain.

    Attributes:
        shard: Number of the shard.
        first_token: Where the segment begins.
        segment_tokens: Tokens of the segment.
        tokens: Those of the bucket.
        domain: Number of its domain in the shard; None: the shard has no domains.
    """

    shard: int
    first_token: int
    segment_tokens: int
    tokens: int
    domain: int | None = None


def read_buckets(index: Json) -> tuple[list[Bucket], list[list[Place]]]:
    """Sum up an index by labels.

    Returns:
        Buckets, and for each the places of its tokens.
    """
    found: dict[tuple[str, str, str, str, str], list[Place]] = {}
    for number, shard in enumerate(index["shards"]):
        names = shard.get("domains", [])
        for s in shard["segments"]:
            labels = (s["source"], s["category"], s["lang"], s["tier"])
            at = (number, s["first_token"], s["tokens"])
            for domain, tokens in s.get("domains", {"": s["tokens"]}).items():
                place = Place(*at, tokens, names.index(domain) if names else None)
                found.setdefault((*labels, domain), []).append(place)
    buckets = [
        Bucket(*labels[:4], sum(p.tokens for p in found[labels]), labels[4])
        for labels in sorted(found)
    ]
    return buckets, [found[labels] for labels in sorted(found)]


def gather(places: Iterable[Place]) -> Json:
    """Join a group's places into its stream, in order of the shards.

    Returns:
        segments: [shard, first token, tokens read]; and, where a segment is read in part, selected:
        position in `segments` -> tokens of the segment, and the numbers of the domains to read.
    """
    joined: dict[tuple[int, int, int], list[Place]] = {}
    for place in places:
        key = (place.shard, place.first_token, place.segment_tokens)
        joined.setdefault(key, []).append(place)
    segments, selected = [], {}
    for number, (shard, first, size) in enumerate(sorted(joined)):
        mine = joined[shard, first, size]
        tokens = sum(p.tokens for p in mine)
        segments.append([shard, first, tokens])
        if tokens < size:
            domains = sorted(p.domain for p in mine if p.domain is not None)
            selected[str(number)] = {"tokens": size, "domains": domains}
    return {"segments": segments, **({"selected": selected} if selected else {})}


def _recipe(
    plan: StagePlan, config: MixStepConfig, index: Json, places: Sequence[list[Place]]
) -> Json:
    return {
        "schema": MIXTURE_SCHEMA,
        "stage": config.stage,
        "seed": config.seed,
        "sequence_length": plan.sequence_length,
        "n_sequences": plan.n_sequences,
        **{k: index[k] for k in ("vocab_size", "bos_id", "eos_id", "pad_id", "categories")},
        "shards": [shard["name"] for shard in index["shards"]],
        "groups": [
            {
                "name": group.name,
                "category": group.category,
                "sequences": group.sequences,
                "available_sequences": group.available_sequences,
                **gather(place for i in group.buckets for place in places[i]),
            }
            for group in plan.groups
        ],
    }


def _group_json(group: Any) -> Json:
    return {k: v for k, v in asdict(group).items() if k != "buckets"}
