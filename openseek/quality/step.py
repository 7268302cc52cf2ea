"""The `score` step: raw scores, ensemble, fluency filter, tiers.

Quantiles need all documents, and nothing else does: a first pass writes the raw scores of each
shard, the driver turns them into cuts (`_Plan`), a second pass rewrites the shards with them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, ShardRecord, names
from openseek.compute import map_shards
from openseek.config.quality import QualityConfig
from openseek.corpus.quarantine import check_bad_fraction
from openseek.corpus.shards import write_documents
from openseek.quality.decontamination_step import decontaminate
from openseek.quality.ensemble import TIERS, Sketch, above, combine, group_rows, tier_of
from openseek.quality.fluency import Counts, bits_per_char, count_ngrams, primary, sum_counts
from openseek.quality.scorers import build_scorer
from openseek.quality.tables import (
    Funnel,
    read_table,
    shard_id,
    text_buffer,
    write_jsonl,
)

__all__ = ["decontaminate", "score"]

FLUENCY = "bits_per_char"
_HISTOGRAM_BINS = 20


@dataclass
class _Plan:
    """What all documents together decide: cuts of the fluency filter, ranks, tiers."""

    cuts: dict[str, int] = field(default_factory=dict)  # domain -> cell of bits per character
    raw: dict[str, Sketch] = field(default_factory=dict)  # scorer/language
    final: dict[str, Sketch] = field(default_factory=dict)  # language/category


def score(ctx: StepContext[QualityConfig]) -> dict[str, Any]:
    """Give every document a quality score and a tier, and drop the least fluent ones.

    Input `documents`, output the same file names. All raw scores stay in `meta.scores`.
    """
    documents, config = ctx.inputs["documents"], ctx.config
    shards = names(documents, "*.parquet")
    done = ctx.out.shards()
    if todo := [n for n in shards if shard_id(n) not in done]:
        fresh = [n for n in shards if _raw_id(n) not in done]
        table = _train_fluency(ctx, shards) if fresh and config.fluency.enabled else None
        map_shards(
            _raw_shard, fresh, runtime=ctx.runtime, args=(documents, ctx.out, config, table),
            progress=ctx.progress, unit="shards scored", done_before=len(shards) - len(fresh),
        )  # fmt: skip
        plan = _make_plan(shards, ctx.out, config)
        raws = ctx.out.shards()
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


def _raw_shard(
    name: str, documents: FileSet, out: Output, config: QualityConfig, counts: NDArray | None
) -> None:
    table = read_table(documents.local(name))
    langs = table["lang"].to_pylist()
    columns: dict[str, Any] = {
        "lang": [primary(lang) for lang in langs], "category": table["category"]
    }  # fmt: skip
    texts = table["text"].to_pylist()
    for scorer in map(build_scorer, config.scorers):
        columns[scorer.name] = pa.array(scorer.score(texts), pa.float32())
    bits = np.zeros(len(texts), np.float32)
    if counts is not None:
        buffers = text_buffer(table["text"])
        bits = bits_per_char(*buffers, table["id"].to_pylist(), langs, config.fluency, counts)
    columns[FLUENCY] = pa.array(bits, pa.float32())
    path = out.scratch / f"{_raw_id(name)}-{os.getpid()}.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd")
    out.commit_shard(
        _raw_id(name), {f"raw/{shard_id(name)}.parquet": path}, rows=len(texts), final=False
    )


def _make_plan(shards: Sequence[str], out: Output, config: QualityConfig) -> _Plan:
    """Read all raw scores twice: for cuts and ranks, then for the quantiles of the final score."""
    plan, fluency, done = _Plan(), dict[str, Sketch](), out.shards()
    for name in shards:
        raw = pq.read_table(out.local(done[_raw_id(name)].files[0]))
        for domain, rows in group_rows(_domains(raw)).items():
            fluency.setdefault(domain, Sketch()).add(raw[FLUENCY].to_numpy()[rows])
        for lang, rows in group_rows(raw["lang"].to_pylist()).items():
            for scorer in config.scorers:
                sketch = plan.raw.setdefault(f"{scorer.name}/{lang}", Sketch())
                sketch.add(raw[scorer.name].to_numpy()[rows])
    plan.cuts = {d: s.cut(config.fluency.quantile) for d, s in fluency.items()}
    for name in shards:
        raw = pq.read_table(out.local(done[_raw_id(name)].files[0]))
        final, keep = _final_scores(raw, plan, config), ~_strange(raw, plan, config)
        for group, rows in group_rows(_groups(raw)).items():
            plan.final.setdefault(group, Sketch()).add(final[rows[keep[rows]]])
    return plan


def _domains(raw: pa.Table) -> list[str]:
    pairs = zip(raw["category"].to_pylist(), raw["lang"].to_pylist(), strict=True)
    return [f"{category}/{lang}" for category, lang in pairs]


_groups = _domains  # tiers are cut within the same groups: language and category


def _final_scores(raw: pa.Table, plan: _Plan, config: QualityConfig) -> NDArray[np.float32]:
    final = np.zeros(raw.num_rows, np.float32)
    for lang, rows in group_rows(raw["lang"].to_pylist()).items():
        ranks = [
            plan.raw[f"{s.name}/{lang}"].rank(raw[s.name].to_numpy()[rows]) for s in config.scorers
        ]
        final[rows] = combine(ranks, config.bins)
    return final


def _strange(raw: pa.Table, plan: _Plan, config: QualityConfig) -> NDArray[np.bool_]:
    bits = raw[FLUENCY].to_numpy()
    strange = np.zeros(raw.num_rows, np.bool_)
    if config.fluency.enabled:
        for domain, rows in group_rows(_domains(raw)).items():
            strange[rows] = above(bits[rows], plan.cuts[domain])
    return strange


def _final_shard(
    work: tuple[str, ShardRecord], documents: FileSet, out: Output, config: QualityConfig,
    plan: _Plan,
) -> None:  # fmt: skip
    name, record = work
    table = read_table(documents.local(name))
    raw = pq.read_table(out.local(record.files[0]))
    final, strange = _final_scores(raw, plan, config), _strange(raw, plan, config)
    tiers = np.full(raw.num_rows, "", dtype=object)
    for group, rows in group_rows(_groups(raw)).items():
        if plan.final[group].total:
            levels = tier_of(final[rows], plan.final[group], config.medium_from, config.high_from)
            tiers[rows] = levels
    funnel = Funnel()
    sizes = np.diff(text_buffer(table["text"])[1])
    sources = table["source"].to_pylist()
    funnel.count("in", sources, sizes)
    metas, bad = _with_scores(table, raw, config, funnel)
    keep = ~strange
    keep[[row for row, _ in bad]] = False
    _note_strange(table, raw, np.flatnonzero(strange), funnel)
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
    values = {label: raw[label].to_pylist() for label in labels}
    metas, bad = [], []
    for row, text in enumerate(table["meta"].to_pylist()):
        try:
            meta = json.loads(text)
            meta["scores"] = {label: round(values[label][row], 5) for label in labels}
        except (ValueError, TypeError) as error:
            bad.append((row, f"meta is no JSON object: {error}"))
            funnel.note("quarantined", "bad_meta", id=table["id"][row].as_py(), text=text)
            meta = {}
        metas.append(json.dumps(meta, ensure_ascii=False, sort_keys=True))
    return metas, bad


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
    """Count tiers by group and histogram the final score by source, for the report."""
    groups, sources = _groups(raw), table["source"].to_pylist()
    counts: dict[str, dict[str, int]] = {}
    histograms: dict[str, list[int]] = {}
    scores = table["score"].to_numpy()
    for row in kept.tolist():
        by_tier = counts.setdefault(groups[row], dict.fromkeys(TIERS, 0))
        by_tier[tiers[row]] += 1
        bins = histograms.setdefault(sources[row], [0] * _HISTOGRAM_BINS)
        bins[min(int(scores[row] * _HISTOGRAM_BINS), _HISTOGRAM_BINS - 1)] += 1
    return {"tiers": counts, "score_histogram": histograms}


def _metrics(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tiers: dict[str, dict[str, int]] = {}
    histograms: dict[str, list[int]] = {}
    for stats in shards:
        for group, counts in stats["tiers"].items():
            mine = tiers.setdefault(group, dict.fromkeys(TIERS, 0))
            for tier, count in counts.items():
                mine[tier] += count
        for source, bins in stats["score_histogram"].items():
            known = histograms.setdefault(source, [0] * _HISTOGRAM_BINS)
            histograms[source] = [a + b for a, b in zip(known, bins, strict=True)]
    return Funnel.total(shards) | {
        "tiers": dict(sorted(tiers.items())), "score_histogram": dict(sorted(histograms.items()))
    }  # fmt: skip
