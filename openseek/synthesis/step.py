"""The `synthesise` step: documents in, question-answer and reasoning documents out.

Answers go into the request cache as they come, and are committed for every few documents
(`answers-…`, not part of the artifact): a restarted step sends no request again that was answered,
and reads those of a finished piece no more. The rows then go through the cascade of checks, and
those that pass are published in order.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, Output
from openseek.compute import map_shards
from openseek.config.synthesis import SynthesisConfig
from openseek.quality.tables import write_jsonl
from openseek.synthesis.drawing import Work
from openseek.synthesis.generate import generate
from openseek.synthesis.session import Asking
from openseek.synthesis.stages import load_sources, stages, with_index
from openseek.synthesis.writing import publish


def synthesise(ctx: StepContext[SynthesisConfig]) -> dict[str, Any]:
    """Make synthetic documents of category `cot` from the input `documents`.

    With an input `benchmarks`, rows that hold evaluation items are rejected too, and listed in
    `contamination.jsonl` with the matched stretches. Every rejected row is in `rejected.jsonl`, and
    tasks for reinforcement learning are in `rl-….jsonl`. A row takes the language, the licence and
    the domain of its document (and with `inherit_tier` its tier), so that mixtures select rows as
    they select documents.
    """
    documents, config = ctx.inputs["documents"], ctx.config
    work: list[Work] = []
    done = ctx.out.shards()
    answered = [record for name, record in done.items() if name.startswith("answers-")]
    size = config.shard_documents
    with Asking(config.teacher, ctx, answered, size, otherwise=map_shards) as asking:
        for pieces in stages(ctx, work):
            done = ctx.out.shards()
            todo = [w for w in pieces if w.answers not in done]
            asking.map(
                _answer_shard, todo, runtime=ctx.runtime,
                args=(documents, ctx.out, config, ctx.seed), progress=ctx.progress,
                unit="answers", done_before=len(work) - len(todo),
            )  # fmt: skip
    return publish(ctx, work) | asking.metrics()


def _answer_shard(
    work: Work, documents: FileSet, out: Output, config: SynthesisConfig, seed: int
) -> None:
    sources = load_sources(work, documents, out, config, seed)
    outcomes = generate(sources, with_index(work.recipe, out), config)
    path = out.scratch / f"{work.answers}-{os.getpid()}.jsonl"
    write_jsonl((asdict(o) for o in outcomes), path)
    usage: Counter[str] = Counter()
    for outcome in outcomes:
        usage.update(outcome.usage)
    out.commit_shard(
        work.answers, {f"{work.answers}.jsonl": path}, rows=len(outcomes), final=False,
        stats={"usage": dict(usage)},
    )  # fmt: skip
