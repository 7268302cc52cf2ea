"""The `synthesise` step: documents in, question-answer and reasoning documents out.

Documents are drawn by a hash of (seed, recipe, id), so that the same ones are drawn whatever shards
they lie in. Answers are committed for every few documents (`answers-…`, not part of the artifact):
a restarted step sends no request of those again. The synthetic shards are then written in order,
because near-duplicates are looked for among all rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, ShardRecord, names
from openseek.compute import map_shards
from openseek.config.quality import DecontaminationConfig
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.corpus.document import domain_of
from openseek.corpus.shards import iter_batches, make_document, write_documents
from openseek.quality.decontamination import Decontaminator
from openseek.quality.tables import write_jsonl
from openseek.synthesis.generate import Outcome, generate
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument, render
from openseek.synthesis.summary import Summary
from openseek.synthesis.verification import NearDuplicates

LISTING = "contamination.jsonl"
_DRAWN_BY = ["id", "text", "category", "tier"]
_COLUMNS = [*_DRAWN_BY, "source", "lang", "license", "meta"]


@dataclass(frozen=True)
class _Work:
    """Some documents for one recipe: where they lie."""

    index: int
    recipe: RecipeConfig
    rows: tuple[tuple[str, int], ...]  # file name, row; sorted

    @property
    def answers(self) -> str:
        return f"answers-{self.index:05d}"

    @property
    def name(self) -> str:
        return f"synthetic-{self.index:05d}"


def synthesise(ctx: StepContext[SynthesisConfig]) -> dict[str, Any]:
    """Make synthetic documents of category `cot` from the input `documents`.

    With an input `benchmarks`, rows that hold evaluation items are rejected too, and listed in
    `contamination.jsonl` with the matched stretches. A row takes the language, the licence and the
    domain of its document (and with `inherit_tier` its tier), so that mixtures select rows as they
    select documents.
    """
    documents, config = ctx.inputs["documents"], ctx.config
    work = draw(documents, config, ctx.seed)
    done = ctx.out.shards()
    todo = [w for w in work if w.answers not in done]
    map_shards(
        _answer_shard, todo, runtime=ctx.runtime, args=(documents, ctx.out, config),
        progress=ctx.progress, unit="answers", done_before=len(work) - len(todo),
    )  # fmt: skip
    done = ctx.out.shards()
    duplicates = NearDuplicates(config.verification.near_duplicate)
    judge = _judge(ctx)
    listing: list[dict[str, Any]] = []
    for piece in work:
        listing += _write_shard(piece, done, ctx.out, config, duplicates, judge)
    path = ctx.out.scratch / f"{os.getpid()}-{LISTING}"
    ctx.out.add(LISTING, write_jsonl(listing, path))
    done = ctx.out.shards()
    return Summary.total(config, [done[w.name].stats for w in work])


def draw(documents: FileSet, config: SynthesisConfig, seed: int) -> list[_Work]:
    """Draw each recipe's documents and cut them into pieces of `shard_documents`."""
    chosen: dict[str, list[tuple[bytes, str, int]]] = {r.name: [] for r in config.recipes}
    for name in names(documents, "*.parquet"):
        row = 0
        for batch in iter_batches(documents.local(name), _DRAWN_BY):
            for recipe in config.recipes:
                found = chosen[recipe.name]
                found += _eligible(batch, recipe, seed, name, row)
                found.sort()
                del found[recipe.max_documents :]
            row += batch.num_rows
    work: list[_Work] = []
    for recipe in config.recipes:
        places = sorted((name, row) for _, name, row in chosen[recipe.name])
        for at in range(0, len(places), config.shard_documents):
            piece = tuple(places[at : at + config.shard_documents])
            work.append(_Work(len(work), recipe, piece))
    return work


def _eligible(
    batch: pa.RecordBatch, recipe: RecipeConfig, seed: int, name: str, first: int
) -> list[tuple[bytes, str, int]]:
    fits = np.isin(batch["category"].to_numpy(zero_copy_only=False), recipe.categories)
    fits &= pc.utf8_length(batch["text"]).to_numpy(zero_copy_only=False) >= recipe.min_chars
    if recipe.tiers:
        fits &= np.isin(batch["tier"].to_numpy(zero_copy_only=False), recipe.tiers)
    salt, ids = f"{seed}/{recipe.name}/", batch["id"]
    return [
        (
            hashlib.blake2b((salt + ids[row].as_py()).encode(), digest_size=8).digest(),
            name,
            first + row,
        )
        for row in np.flatnonzero(fits).tolist()
    ]


def _load(work: _Work, documents: FileSet) -> list[SourceDocument]:
    """Read the drawn rows, and of each file only as far as they reach."""
    loaded = []
    for name in dict.fromkeys(name for name, _ in work.rows):
        wanted = [row for file, row in work.rows if file == name]
        first = 0
        for batch in iter_batches(documents.local(name), _COLUMNS):
            mine = [row - first for row in wanted if first <= row < first + batch.num_rows]
            raws = batch.take(pa.array(mine, pa.int64())).to_pylist() if mine else []
            loaded += [_source_document(raw, work.recipe.read_chars) for raw in raws]
            first += batch.num_rows
            if first > wanted[-1]:
                break
    return loaded


def _source_document(raw: dict[str, Any], read_chars: int) -> SourceDocument:
    return SourceDocument(
        id=raw["id"],
        text=raw["text"][:read_chars],
        lang="zh" if raw["lang"].startswith("zh") else "en",
        code=raw["category"] == "code",
        source=raw["source"],
        license=raw["license"],
        domain=domain_of(raw["meta"]),
        tier=raw["tier"],
    )


def _answer_shard(work: _Work, documents: FileSet, out: Output, config: SynthesisConfig) -> None:
    outcomes = generate(_load(work, documents), work.recipe, config)
    path = out.scratch / f"{work.answers}-{os.getpid()}.jsonl"
    write_jsonl((asdict(o) for o in outcomes), path)
    out.commit_shard(work.answers, {f"{work.answers}.jsonl": path}, rows=len(outcomes), final=False)


def _read_answers(path: Path) -> list[Outcome]:
    outcomes = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            raw = json.loads(line)
            rows = [(Row(**r | {"steps": tuple(r["steps"])}), reason) for r, reason in raw["rows"]]
            document = SourceDocument(**raw["document"])
            outcomes.append(Outcome(document, rows, raw["failure"], raw["usage"]))
    return outcomes


def _judge(ctx: StepContext[SynthesisConfig]) -> Decontaminator | None:
    benchmarks = ctx.inputs.get("benchmarks")
    if benchmarks is None:
        return None
    from openseek.quality.decontamination import index_items
    from openseek.quality.items import load_items

    limits = ctx.config.decontamination or DecontaminationConfig()
    return Decontaminator(limits, index_items(load_items(benchmarks)[0], limits))


def _write_shard(
    work: _Work, done: dict[str, ShardRecord], out: Output, config: SynthesisConfig,
    duplicates: NearDuplicates, judge: Decontaminator | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Check one piece's rows against all earlier ones, publish those that pass.

    Returns:
        What the others hold of evaluation items.
    """
    outcomes = _read_answers(out.local(done[work.answers].files[0]))
    summary = Summary(work.recipe.name)
    kept: list[dict[str, Any]] = []
    listing: list[dict[str, Any]] = []
    for outcome in outcomes:
        summary.outcome(outcome)
        for number, (row, reason) in enumerate(outcome.rows):
            text = render(row, outcome.document.lang)
            if not reason and duplicates.seen(f"{row.query}\n{row.answer}"):
                reason = "near_duplicate"
            made = _document(outcome.document, row, text, number, work.recipe, config)
            if not reason and judge is not None and (matches := judge.check([text])[0]):
                reason = "contaminated"
                listing += [{k: made[k] for k in ("id", "source")} | asdict(m) for m in matches]
            summary.row(outcome.document, row, text, reason)
            if not reason:
                kept.append(made)
    if work.name in done:
        return listing
    path = out.scratch / f"{work.name}-{os.getpid()}.parquet"
    write_documents(path, kept)
    out.commit_shard(
        work.name, {f"{work.name}.parquet": path}, rows=len(kept), stats=summary.stats()
    )
    return listing


def _document(
    source: SourceDocument, row: Row, text: str, number: int, recipe: RecipeConfig,
    config: SynthesisConfig,
) -> dict[str, Any]:  # fmt: skip
    teacher = config.teacher
    return make_document(
        text,
        source=f"synthetic-{recipe.name}",
        category="cot",
        lang="zh-Hans" if source.lang == "zh" else "en",
        license=source.license,
        origin=f"{source.source}/{source.id}#{number}",
        tier=source.tier if config.inherit_tier else "",
        meta={
            "teacher": "extractive" if teacher.kind == "extractive" else teacher.model,
            "recipe": recipe.name,
            "prompt_version": RECIPES[recipe.name].version,
            "source_id": source.id,
            "source": source.source,
            **({"domain": source.domain} if source.domain else {}),
            "query": row.query,
            "answer": row.answer,
            **({"steps": list(row.steps)} if row.steps else {}),
            **row.extra,
        },
    )
