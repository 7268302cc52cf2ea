"""The `score` step: raw scores, ensemble, fluency filter, tiers.

Quantiles need all documents, and nothing else does: a first pass writes the raw scores of each
shard, the driver turns them into cuts (`plan.Plan`), a second pass rewrites the shards with them.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, ShardRecord, names
from openseek.compute import map_shards
from openseek.config.quality import LinearScorerConfig, QualityConfig
from openseek.corpus.quarantine import check_bad_fraction
from openseek.corpus.shards import write_documents
from openseek.quality.decontamination_step import decontaminate
from openseek.quality.domains import checked_labeller, label_domains, load_labeller
from openseek.quality.ensemble import TIERS
from openseek.quality.fluency import Counts, bits_per_char, count_ngrams, primary, sum_counts
from openseek.quality.linear import MODEL, WEIGHTS, LinearModel
from openseek.quality.plan import (
    FLUENCY,
    Plan,
    final_scores,
    make_plan,
    strange,
    tier_groups,
    tiers_of,
)
from openseek.quality.scorers import build_scorer, load_linear
from openseek.quality.tables import (
    Funnel,
    read_table,
    shard_id,
    text_buffer,
    write_jsonl,
)
from openseek.quality.transformer import causal_bits_per_char

__all__ = ["decontaminate", "score"]

_HISTOGRAM_BINS = 20


def score(ctx: StepContext[QualityConfig]) -> dict[str, Any]:
    """Give every document a quality score, a tier and a domain, and drop the least fluent ones.

    Inputs `documents`; `classifier`, where a linear scorer names no model; `domains`, where a
    classifier that the run trained labels them. Output the same file names. All raw scores stay in
    `meta.scores`, the domain in `meta.domain`.
    """
    documents, config = ctx.inputs["documents"], ctx.config
    shards = names(documents, "*.parquet")
    done = ctx.out.shards()
    if todo := [n for n in shards if shard_id(n) not in done]:
        fresh = [n for n in shards if _raw_id(n) not in done]
        counted = fresh and config.fluency.enabled and not config.fluency.model
        table = _train_fluency(ctx, shards) if counted else None
        models = _models(ctx) if fresh else _Models({})
        map_shards(
            _raw_shard, fresh, runtime=ctx.runtime,
            args=(documents, ctx.out, config, models, table), gpu=_needs_gpu(config),
            progress=ctx.progress, unit="shards scored", done_before=len(shards) - len(fresh),
        )  # fmt: skip
        raws = ctx.out.shards()
        tables = [raws[_raw_id(n)] for n in shards]
        plan = make_plan(lambda: (pq.read_table(ctx.out.local(t.files[0])) for t in tables), config)
        work = [(n, raws[_raw_id(n)]) for n in todo]
        map_shards(
            _final_shard, work, runtime=ctx.runtime, args=(documents, ctx.out, config, plan),
            progress=ctx.progress, unit="shards tiered", done_before=len(shards) - len(todo),
        )  # fmt: skip
    done = ctx.out.shards()
    metrics = _metrics([done[shard_id(n)].stats for n in shards])
    check_bad_fraction(
        metrics["quarantined"], metrics["documents_in"], ctx.runtime.max_bad_fraction, where="score"
    )
    return metrics


def _raw_id(name: str) -> str:
    return f"raw-{shard_id(name)}"


def _train_fluency(ctx: StepContext[QualityConfig], shards: Sequence[str]) -> NDArray[np.uint32]:
    budget = ctx.config.fluency.train_bytes // max(1, len(shards))
    counts = map_shards(
        _count_shard, shards, runtime=ctx.runtime,
        args=(ctx.inputs["documents"], ctx.config, budget),
        progress=ctx.progress, unit="shards counted",
    )  # fmt: skip
    return sum_counts(counts, ctx.config.fluency)


def _count_shard(name: str, documents: FileSet, config: QualityConfig, budget: int) -> Counts:
    table = read_table(documents.local(name))
    ids, langs = table["id"].to_pylist(), table["lang"].to_pylist()
    return count_ngrams(*text_buffer(table["text"]), ids, langs, config.fluency, budget)


@dataclass(frozen=True)
class _Models:
    """Linear classifiers, loaded once for all workers; other models load where they run.

    Attributes:
        scorers: By the scorer's name.
        domains: What labels documents; None: keywords.
    """

    scorers: dict[str, LinearModel]
    domains: LinearModel | None = None


def _models(ctx: StepContext[QualityConfig]) -> _Models:
    found = {}
    for scorer in ctx.config.scorers:
        if isinstance(scorer, LinearScorerConfig):
            trained = None if scorer.model else ctx.inputs.get("classifier")
            found[scorer.name] = (
                load_linear(scorer.model)
                if trained is None
                else LinearModel.load(trained.local(MODEL), trained.local(WEIGHTS))
            )
    return _Models(found, _labeller(ctx))


def _labeller(ctx: StepContext[QualityConfig]) -> LinearModel | None:
    config, trained = ctx.config.domains, ctx.inputs.get("domains")
    if not config.enabled:
        return None
    if config.classifier:
        return load_labeller(config.classifier)
    if trained is None:
        return None
    model = LinearModel.load(trained.local(MODEL), trained.local(WEIGHTS))
    return checked_labeller(model, "domains")


def _needs_gpu(config: QualityConfig) -> bool:
    return bool(config.fluency.model) or any(s.kind == "transformer" for s in config.scorers)


def _raw_shard(
    name: str, documents: FileSet, out: Output, config: QualityConfig,
    models: _Models, counts: NDArray | None,
) -> None:  # fmt: skip
    table = read_table(documents.local(name))
    langs = table["lang"].to_pylist()
    buf, offsets = text_buffer(table["text"])
    domains = [""] * len(langs)
    if config.domains.enabled:
        domains = label_domains(buf, offsets, config.domains, models.domains)
    columns: dict[str, Any] = {
        "lang": [primary(lang) for lang in langs], "category": table["category"],
        "domain": pa.array(domains, pa.string()),
    }  # fmt: skip
    for section in config.scorers:
        scorer = build_scorer(section, models.scorers.get(section.name))
        columns[scorer.name] = pa.array(scorer.score_buffer(buf, offsets), pa.float32())
    bits = np.zeros(len(langs), np.float32)
    if config.fluency.enabled and config.fluency.model:
        bits = causal_bits_per_char(buf, offsets, config.fluency)
    elif counts is not None:
        bits = bits_per_char(buf, offsets, table["id"].to_pylist(), langs, config.fluency, counts)
    columns[FLUENCY] = pa.array(bits, pa.float32())
    path = out.scratch / f"{_raw_id(name)}-{os.getpid()}.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    out.commit_shard(
        _raw_id(name), {f"raw/{shard_id(name)}.parquet": path}, rows=len(langs), final=False
    )


def _final_shard(
    work: tuple[str, ShardRecord], documents: FileSet, out: Output, config: QualityConfig,
    plan: Plan,
) -> None:  # fmt: skip
    name, record = work
    table = read_table(documents.local(name))
    raw = pq.read_table(out.local(record.files[0]))
    final, odd = final_scores(raw, plan, config), strange(raw, plan, config)
    tiers = tiers_of(raw, final, plan, config)
    funnel = Funnel()
    sizes = np.diff(text_buffer(table["text"])[1])
    sources = table["source"].to_pylist()
    funnel.count("in", sources, sizes)
    metas, bad = _with_scores(table, raw, config, funnel)
    keep = ~odd
    keep[[row for row, _ in bad]] = False
    _note_strange(table, raw, np.flatnonzero(odd), funnel)
    kept = np.flatnonzero(keep)
    for column, values in (("tier", tiers), ("score", final), ("meta", metas)):
        at = table.schema.get_field_index(column)
        kind = table.schema.field(at).type
        table = table.set_column(at, table.schema.field(at), pa.array(list(values), kind))
    funnel.count("out", [sources[i] for i in kept], sizes[kept])
    stem, pid = shard_id(name), os.getpid()
    path = out.scratch / f"{stem}-{pid}.parquet"
    write_documents(path, table.take(kept))
    files = {name: path}
    if bad:
        lines = [{"id": table["id"][i].as_py(), "reason": why} for i, why in bad]
        files[f"quarantine/{stem}.jsonl"] = write_jsonl(lines, out.scratch / f"{stem}-{pid}.jsonl")
    stats = funnel.stats() | _distributions(table, kept, raw, tiers)
    out.commit_shard(stem, files, rows=len(kept), stats=stats)


def _with_scores(
    table: pa.Table, raw: pa.Table, config: QualityConfig, funnel: Funnel
) -> tuple[list[str], list[tuple[int, str]]]:
    """Write the raw scores into each `meta`; return the rows whose `meta` is no JSON object."""
    labels = [*(s.name for s in config.scorers), *([FLUENCY] if config.fluency.enabled else [])]
    values = {label: _rounded(raw[label]) for label in labels}
    domains = raw["domain"].to_pylist()
    metas, bad = [], []
    for row, text in enumerate(table["meta"].to_pylist()):
        try:
            meta = json.loads(text)
            meta["scores"] = {label: values[label][row] for label in labels}
            if domains[row]:
                meta["domain"] = domains[row]
        except (ValueError, TypeError) as error:
            bad.append((row, f"meta is no JSON object: {error}"))
            funnel.note("quarantined", "bad_meta", id=table["id"][row].as_py(), text=text)
            meta = {}
        metas.append(json.dumps(meta, ensure_ascii=False, sort_keys=True))
    return metas, bad


def _rounded(column: pa.ChunkedArray) -> list[float | None]:
    """Round scores for JSON, which knows no NaN."""
    return [round(v, 5) if math.isfinite(v) else None for v in column.to_pylist()]


def _note_strange(table: pa.Table, raw: pa.Table, rows: NDArray[np.int64], funnel: Funnel) -> None:
    for row in rows.tolist():
        funnel.note(
            "dropped", "perplexity", id=table["id"][row].as_py(),
            source=table["source"][row].as_py(), text=table["text"][row].as_py(),
            bits_per_char=round(raw[FLUENCY][row].as_py(), 3),
        )  # fmt: skip


def _distributions(
    table: pa.Table, kept: NDArray[np.int64], raw: pa.Table, tiers: NDArray
) -> dict[str, Any]:
    """Count tiers and domains by group and histogram the final score by source."""
    groups, sources = tier_groups(raw), table["source"].to_pylist()
    counts: dict[str, dict[str, int]] = {}
    histograms: dict[str, list[int]] = {}
    scores = table["score"].to_numpy()
    for row in kept.tolist():
        by_tier = counts.setdefault(groups[row], dict.fromkeys(TIERS, 0))
        by_tier[tiers[row]] += 1
        bins = histograms.setdefault(sources[row], [0] * _HISTOGRAM_BINS)
        bins[min(int(scores[row] * _HISTOGRAM_BINS), _HISTOGRAM_BINS - 1)] += 1
    return {"tiers": counts, "score_histogram": histograms, "domains": _domain_counts(raw, kept)}


def _domain_counts(raw: pa.Table, kept: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """Count the kept documents of each domain by language."""
    counts: dict[str, Counter[str]] = {}
    names, langs = raw["domain"].to_pylist(), raw["lang"].to_pylist()
    for row in kept.tolist():
        if names[row]:
            counts.setdefault(langs[row], Counter())[names[row]] += 1
    return {lang: dict(sorted(c.items())) for lang, c in sorted(counts.items())}


def _metrics(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tiers: dict[str, dict[str, int]] = {}
    domains: dict[str, Counter[str]] = {}
    histograms: dict[str, list[int]] = {}
    for stats in shards:
        for group, counts in stats["tiers"].items():
            mine = tiers.setdefault(group, dict.fromkeys(TIERS, 0))
            for tier, count in counts.items():
                mine[tier] += count
        for lang, counts in stats["domains"].items():
            domains.setdefault(lang, Counter()).update(counts)
        for source, bins in stats["score_histogram"].items():
            known = histograms.setdefault(source, [0] * _HISTOGRAM_BINS)
            histograms[source] = [a + b for a, b in zip(known, bins, strict=True)]
    return Funnel.total(shards) | {
        "tiers": dict(sorted(tiers.items())), "score_histogram": dict(sorted(histograms.items())),
        "domains": {lang: dict(sorted(c.items())) for lang, c in sorted(domains.items())},
    }  # fmt: skip
