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
from dataclasses import dataclass, replace
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
from openseek.corpus.shards import TableWriter
from openseek.quality.decontamination_step import decontaminate
from openseek.quality.domains import checked_labeller, label_domains, load_labeller
from openseek.quality.ensemble import TIERS
from openseek.quality.fluency import bits_per_char, primary
from openseek.quality.fluency_pass import train_fluency
from openseek.quality.linear import MODEL, WEIGHTS, LinearModel
from openseek.quality.plan import (
    FLUENCY,
    Plan,
    final_scores,
    make_plan,
    strange,
    tiers_of,
)
from openseek.quality.scorers import Scorer, build_scorer, load_linear
from openseek.quality.spread import HISTOGRAM_BINS, Distributions
from openseek.quality.tables import Funnel, shard_id, tables, text_buffer, write_jsonl
from openseek.quality.transformer import causal_bits_per_char

__all__ = ["decontaminate", "score"]


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
        table = train_fluency(ctx, shards) if counted else None
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
    scorers = [
        build_scorer(section, models.scorers.get(section.name)) for section in config.scorers
    ]
    path, rows = out.scratch / f"{_raw_id(name)}-{os.getpid()}.parquet", 0
    with pq.ParquetWriter(path, _raw_schema(config), compression="zstd") as writer:
        for table in tables(documents.local(name)):
            writer.write_table(_raw_scores(table, config, scorers, models.domains, counts))
            rows += table.num_rows
    out.commit_shard(_raw_id(name), {f"raw/{shard_id(name)}.parquet": path}, rows=rows, final=False)


def _raw_schema(config: QualityConfig) -> pa.Schema:
    texts = [(column, pa.string()) for column in ("lang", "category", "domain")]
    scores = [*(scorer.name for scorer in config.scorers), FLUENCY]
    return pa.schema([*texts, *((label, pa.float32()) for label in scores)])


def _raw_scores(
    table: pa.Table, config: QualityConfig, scorers: Sequence[Scorer], labeller: LinearModel | None,
    counts: NDArray | None,
) -> pa.Table:  # fmt: skip
    langs = table["lang"].to_pylist()
    buf, offsets = text_buffer(table["text"])
    domains = [""] * len(langs)
    if config.domains.enabled:
        domains = label_domains(buf, offsets, config.domains, labeller)
    bits = np.zeros(len(langs), np.float32)
    if config.fluency.enabled and config.fluency.model:
        bits = causal_bits_per_char(buf, offsets, config.fluency)
    elif counts is not None:
        bits = bits_per_char(buf, offsets, table["id"].to_pylist(), langs, config.fluency, counts)
    scores = [scorer.score_buffer(buf, offsets) for scorer in scorers]
    columns = [[primary(lang) for lang in langs], table["category"], domains, *scores, bits]
    schema = _raw_schema(config)
    arrays = [
        column if isinstance(column, pa.ChunkedArray) else pa.array(column, kind)
        for column, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _final_shard(
    work: tuple[str, ShardRecord], documents: FileSet, out: Output, config: QualityConfig,
    plan: Plan,
) -> None:  # fmt: skip
    name, record = work
    raw = pq.read_table(out.local(record.files[0])).combine_chunks()
    judged = _Judged(
        raw, final_scores(raw, plan, config), strange(raw, plan, config), np.empty(0, object)
    )
    judged = replace(judged, tiers=tiers_of(raw, judged.final, plan, config))
    stem, pid = shard_id(name), os.getpid()
    path, bad_path = out.scratch / f"{stem}-{pid}.parquet", out.scratch / f"{stem}-{pid}.jsonl"
    funnel, spread, bad, start = Funnel(), Distributions(), list[dict[str, str]](), 0
    with TableWriter(path) as writer:
        for table in tables(documents.local(name)):
            mine = judged.part(start, table.num_rows)
            start += table.num_rows
            writer.add(_tiered(table, mine, config, funnel, spread, bad))
    files = {name: path}
    if bad:
        files[f"quarantine/{stem}.jsonl"] = write_jsonl(bad, bad_path)
    out.commit_shard(stem, files, rows=writer.rows, stats=funnel.stats() | spread.stats())


@dataclass(frozen=True)
class _Judged:
    """What is known of a shard's documents: raw table, final scores, strange ones, tiers."""

    raw: pa.Table
    final: NDArray[np.float32]
    odd: NDArray[np.bool_]
    tiers: NDArray[np.object_]

    def part(self, start: int, n: int) -> _Judged:
        rows = slice(start, start + n)
        raw = self.raw.slice(start, n)
        return _Judged(raw, self.final[rows], self.odd[rows], self.tiers[rows])


def _tiered(
    table: pa.Table, judged: _Judged, config: QualityConfig, funnel: Funnel,
    spread: Distributions, bad: list[dict[str, str]],
) -> pa.Table:  # fmt: skip
    """Return what is kept of some documents, with score, tier and raw scores."""
    sizes, sources = np.diff(text_buffer(table["text"])[1]), table["source"].to_pylist()
    funnel.count("in", sources, sizes)
    metas, broken = _with_scores(table, judged.raw, config, funnel)
    bad += [{"id": table["id"][i].as_py(), "reason": why} for i, why in broken]
    keep = ~judged.odd
    keep[[row for row, _ in broken]] = False
    _note_strange(table, judged.raw, np.flatnonzero(judged.odd), funnel)
    kept = np.flatnonzero(keep)
    for column, values in (("tier", judged.tiers), ("score", judged.final), ("meta", metas)):
        at = table.schema.get_field_index(column)
        field = table.schema.field(at)
        table = table.set_column(at, field, pa.array(list(values), field.type))
    funnel.count("out", [sources[i] for i in kept], sizes[kept])
    spread.add(sources, judged.raw, judged.final, judged.tiers, kept)
    return table.take(kept)


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
            known = histograms.setdefault(source, [0] * HISTOGRAM_BINS)
            histograms[source] = [a + b for a, b in zip(known, bins, strict=True)]
    return Funnel.total(shards) | {
        "tiers": dict(sorted(tiers.items())), "score_histogram": dict(sorted(histograms.items())),
        "domains": {lang: dict(sorted(c.items())) for lang, c in sorted(domains.items())},
    }  # fmt: skip
