"""The `label` step: a teacher grades a sample of documents from 0 to 5, or names their domains.

Documents are drawn by a hash of (seed, id), the same number of each language, so that the same ones
are drawn whatever shards they lie in. Answers go into the request cache as they come, and labels
into one file for every few documents: a killed step asks nothing again that was answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output, names
from openseek.compute import map_shards
from openseek.config.labelling import LabellingConfig, PromptStyle
from openseek.corpus.shards import iter_batches
from openseek.errors import DataError
from openseek.synthesis import grading, topics
from openseek.synthesis.label_summary import shard_stats, total
from openseek.synthesis.rows import SourceDocument
from openseek.synthesis.session import Asking, current
from openseek.synthesis.teacher import Asker, RowFailure, Teacher

_COLUMNS = ["id", "text", "source", "category", "lang", "license"]
LABEL_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # document id
        pa.field("text", pa.large_string(), nullable=False),  # what the teacher saw
        pa.field("source", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("lang", pa.string(), nullable=False),
        pa.field("license", pa.string(), nullable=False),
        pa.field("teacher", pa.string(), nullable=False),  # model, or "heuristic"
        pa.field("prompt", pa.string(), nullable=False),  # rubric, language and version
        pa.field("grade", pa.int8()),  # 0 to 5; null: no usable answer, or asked for a domain
        pa.field("domain", pa.string(), nullable=False),  # empty: likewise
        pa.field("reason", pa.string(), nullable=False),  # the teacher's, one sentence
        pa.field("failure", pa.string(), nullable=False),  # why there is neither
    ]
)


@dataclass(frozen=True)
class _Work:
    """Some drawn documents: where they lie."""

    index: int
    rows: tuple[tuple[str, int], ...]  # file name, row; sorted

    @property
    def name(self) -> str:
        return f"labels-{self.index:05d}"


def label(ctx: StepContext[LabellingConfig]) -> dict[str, Any]:
    """Label a sample of the input `documents`; write `labels-NNNNN.parquet`.

    Returns:
        documents, labels, failed (reason -> number), grades by language, agreement of the rubrics
        where there are two, domains by language where they are asked for, requests, repairs,
        tokens and cost.

    Raises:
        TransientError: The endpoint did not answer; finished answers are kept.
        ConfigError: The endpoint, model or key is wrong.
        DataError: No document fits.
    """
    documents, config = ctx.inputs["documents"], ctx.config
    work = draw(documents, config, ctx.seed)
    if not work:
        raise DataError(
            f"no document in {', '.join(config.languages)} of category "
            f"{', '.join(config.categories)} with {config.min_chars} characters or more",
            where="label", mend="Look at the documents, or change these keys of the section.",
        )  # fmt: skip
    done = ctx.out.shards()
    todo = [w for w in work if w.name not in done]
    answered = [done[w.name] for w in work if w.name in done]
    size = config.shard_documents
    with Asking(config.asked, ctx, answered, size, otherwise=map_shards) as asking:
        asking.map(
            _label_shard, todo, runtime=ctx.runtime, args=(documents, ctx.out, config),
            progress=ctx.progress, unit="files of labels", done_before=len(work) - len(todo),
        )  # fmt: skip
    done = ctx.out.shards()
    return total(config, [done[w.name].stats for w in work]) | asking.metrics()


def draw(documents: FileSet, config: LabellingConfig, seed: int) -> list[_Work]:
    """Draw the documents of each language and cut them into pieces of `shard_documents`."""
    share = max(1, config.documents // len(config.languages))
    chosen: dict[str, list[tuple[bytes, str, int]]] = {lang: [] for lang in config.languages}
    for name in names(documents, "*.parquet"):
        first = 0
        for batch in iter_batches(documents.local(name), _COLUMNS):
            for lang, found in chosen.items():
                found += _eligible(batch, lang, config, seed, name, first)
                found.sort()
                del found[share:]
            first += batch.num_rows
    places = sorted((name, row) for found in chosen.values() for _, name, row in found)
    size = config.shard_documents
    pieces = [tuple(places[at : at + size]) for at in range(0, len(places), size)]
    return [_Work(i, piece) for i, piece in enumerate(pieces)]


def _eligible(
    batch: pa.RecordBatch, lang: str, config: LabellingConfig, seed: int, name: str, first: int
) -> list[tuple[bytes, str, int]]:
    fits = np.isin(batch["category"].to_numpy(zero_copy_only=False), config.categories)
    fits &= pc.utf8_length(batch["text"]).to_numpy(zero_copy_only=False) >= config.min_chars
    chinese = pc.starts_with(batch["lang"], "zh").to_numpy(zero_copy_only=False)
    fits &= chinese if lang == "zh" else ~chinese
    ids = batch["id"]
    return [
        (hashlib.blake2b(f"{seed}/label/{ids[row]}".encode(), digest_size=8).digest(), name,
         first + row)
        for row in np.flatnonzero(fits).tolist()
    ]  # fmt: skip


def _load(work: _Work, documents: FileSet, read_chars: int) -> list[dict[str, Any]]:
    """Read the drawn rows, and of each file only as far as they reach."""
    loaded: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for name, _ in work.rows):
        wanted = [row for file, row in work.rows if file == name]
        first = 0
        for batch in iter_batches(documents.local(name), _COLUMNS):
            mine = [row - first for row in wanted if first <= row < first + batch.num_rows]
            loaded += batch.take(pa.array(mine, pa.int64())).to_pylist() if mine else []
            first += batch.num_rows
            if first > wanted[-1]:
                break
    return [row | {"text": row["text"][:read_chars]} for row in loaded]


def _label_shard(work: _Work, documents: FileSet, out: Output, config: LabellingConfig) -> None:
    rows = _load(work, documents, config.read_chars)
    session = current()
    if session is not None:
        labels, usage = session.run(_label_all(rows, config, session.teacher))
    else:
        labels, usage = asyncio.run(_label_all(rows, config, grading.HeuristicTeacher()))
    path = out.scratch / f"{work.name}-{os.getpid()}.parquet"
    table = pa.Table.from_pylist(labels, schema=LABEL_SCHEMA)
    pq.write_table(table, path, compression="zstd", write_statistics=False)
    stats = shard_stats(labels, config) | {"documents": len(rows), "usage": usage}
    out.commit_shard(work.name, {f"{work.name}.parquet": path}, rows=len(labels), stats=stats)


async def _label_all(
    rows: Sequence[dict[str, Any]], config: LabellingConfig, teacher: Teacher
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    usage = Counter[str]()
    tasks = [
        asyncio.ensure_future(_label(row, style, config, teacher, usage))
        for row in rows
        for style in config.prompts
    ]
    try:
        labels = list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return labels, dict(sorted(usage.items()))


async def _label(
    row: dict[str, Any], style: PromptStyle, config: LabellingConfig, teacher: Teacher,
    usage: Counter[str],
) -> dict[str, Any]:  # fmt: skip
    lang = "zh" if row["lang"].startswith("zh") else "en"
    code = row["category"] == "code"
    document = SourceDocument(row["id"], row["text"], lang, code, row["source"], row["license"])
    asker = Asker(teacher)
    answer: dict[str, Any] = {"grade": None, "domain": "", "reason": "", "failure": ""}
    try:
        answer |= await _ask(asker, document, style, config)
    except RowFailure as failure:
        answer["failure"] = failure.reason
    usage.update(asker.ledger.to_json())
    version = topics.VERSION if style == "domain" else grading.VERSION
    return row | answer | {"teacher": teacher.name, "prompt": f"{style}-{lang}-v{version}"}


async def _ask(
    asker: Asker, document: SourceDocument, style: PromptStyle, config: LabellingConfig
) -> dict[str, Any]:
    if style == "domain":
        names = tuple(topics.choices(config.domains, document.lang))
        prompt = topics.domain_prompt(document, config.domains)
        topic = await asker.ask(prompt, topics.topic_schema(names))
        return {"domain": topic.domain, "reason": topic.reason.strip()}
    grade = await asker.ask(grading.grade_prompt(document, style), grading.Grade)
    return {"grade": grade.score, "reason": grade.reason.strip()}
