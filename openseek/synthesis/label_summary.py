"""What the step `label` reports: grades, domains, failures, requests and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openseek.config.labelling import LabellingConfig
from openseek.synthesis import grading, topics
from openseek.synthesis.prices import cost_usd

GRADES = 6


def shard_stats(labels: Sequence[Mapping[str, Any]], config: LabellingConfig) -> dict[str, Any]:
    """Count one file of labels: the rows of `config.prompts`, document by document."""
    grades: dict[str, list[int]] = {}
    domains: dict[str, Counter[str]] = {}
    failed = Counter[str]()
    pairs = np.zeros((GRADES, GRADES), np.int64)
    for row in labels:
        lang = "zh" if row["lang"].startswith("zh") else "en"
        if row["failure"]:
            failed[row["failure"]] += 1
        elif row["domain"]:
            domains.setdefault(lang, Counter())[row["domain"]] += 1
        else:
            grades.setdefault(lang, [0] * GRADES)[row["grade"]] += 1
    at = [i for i, style in enumerate(config.prompts) if style in config.rubrics][:2]
    for first in range(0, len(labels), len(config.prompts)):
        both = [labels[first + i]["grade"] for i in at]
        if len(both) > 1 and None not in both:
            pairs[both[0], both[1]] += 1
    return {
        "grades": grades, "domains": {k: dict(c) for k, c in domains.items()},
        "failed": dict(failed), "pairs": pairs.tolist(),
    }  # fmt: skip


def total(config: LabellingConfig, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the counts of all files to the step's metrics."""
    usage, failed = Counter[str](), Counter[str]()
    grades: dict[str, list[int]] = {}
    domains: dict[str, Counter[str]] = {}
    for stats in shards:
        usage.update(stats["usage"])
        failed.update(stats["failed"])
        for lang, counts in stats["grades"].items():
            known = grades.get(lang, [0] * GRADES)
            grades[lang] = [a + b for a, b in zip(known, counts, strict=True)]
        for lang, named in stats["domains"].items():
            domains.setdefault(lang, Counter()).update(named)
    spent = {k: usage[k] for k in ("requests", "repairs", "prompt_tokens", "completion_tokens")}
    teacher = config.teacher
    told: dict[str, Any] = {
        "documents": sum(s["documents"] for s in shards),
        "labels": sum(map(sum, grades.values())) + sum(c.total() for c in domains.values()),
        "unusable": sum(failed.values()),
        "failed": dict(sorted(failed.items())),
        "teacher": teacher.model if teacher else grading.HeuristicTeacher.name,
        "prompts": list(config.prompts),
        "prompt_version": grading.VERSION,
        "grades": dict(sorted(grades.items())),
        **spent,
        "cost_usd": 0.0,
    }
    if teacher:
        told["cost_usd"] = round(cost_usd(usage, teacher), 6)
    if len(config.rubrics) > 1:
        told["rubrics"] = np.sum([s["pairs"] for s in shards], axis=0).tolist()
    if config.asks_domains:
        told["domain_prompt_version"] = topics.VERSION
        told["domains"] = {lang: dict(sorted(c.items())) for lang, c in sorted(domains.items())}
    return told
