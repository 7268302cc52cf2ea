"""From tasks to results: plan the samples, compute what is not known yet, finish each task.

Samples of all tasks go into chunks (`samples.chunks`); processes of this machine (`pool`) or a Ray
cluster (`ray_runner`) compute them in any order, and each chunk's results enter the cache at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.config.evaluation import EvaluationConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError
from openseek.evaluation.benchmarks import read_items
from openseek.evaluation.catalog import Item
from openseek.evaluation.heldout import (
    CLOZE_GROUPS,
    Document,
    cloze_items,
    document_sample,
    measured,
    write_bits,
)
from openseek.evaluation.layout import documents_of
from openseek.evaluation.pool import default_processes, run_units, start, write_job
from openseek.evaluation.sample_cache import SampleCache
from openseek.evaluation.samples import Sample, chunks, digest, task_sample
from openseek.evaluation.specialisation import add_choices, experts_samples
from openseek.evaluation.worker import FINISH

Json = dict[str, Any]
Context = StepContext[EvaluationConfig]
Compute = Callable[[Sequence[Sample]], dict[str, Json]]
"""Samples -> their results by key."""

BPB, EXPERTS = "bpb-", "experts-"
"""Units: a task's name, `bpb-{category}`, or `experts-{category}`."""


@dataclass
class Plan:
    """What is to be measured.

    Attributes:
        items: Task -> (id, item) pairs.
        documents: Category -> held-out documents.
        samples: Unit -> samples, in the order of its items or documents.
    """

    items: dict[str, list[tuple[str, Item]]]
    documents: dict[str, list[Document]]
    samples: dict[str, list[Sample]]

    @property
    def units(self) -> list[str]:
        """Names of the units: tasks, then those of the held-out documents."""
        return list(self.samples)

    @property
    def digests(self) -> dict[str, str]:
        """Digest of each unit's samples."""
        return {unit: digest(s.key for s in samples) for unit, samples in self.samples.items()}


def make_plan(ctx: Context, job: Json) -> Plan:
    """Read items and documents, and turn them into samples.

    Raises:
        ConfigError: There is nothing to measure.
    """
    items = {
        task: read_items(Path(path), ctx.config.max_samples)
        for task, path in job["benchmarks"].items()
    }
    drawn = documents_of(ctx)
    documents: dict[str, list[Document]] = {}
    for d in drawn:
        documents.setdefault(d.category, []).append(d)
    if ctx.config.cloze.items and documents:
        from openseek.evaluation.models import kind_of, load_codec

        codec = load_codec(Path(job["tokenizer"]), kind_of(Path(job["model"])))
        for task, (category, _) in CLOZE_GROUPS.items():
            if category in documents:
                items[task] = cloze_items(task, drawn, codec, ctx.config.cloze, ctx.seed)
    samples = {task: [task_sample(task, item) for _, item in of] for task, of in items.items()}
    for category in sorted(documents):
        samples[f"{BPB}{category}"] = [document_sample(d) for d in documents[category]]
    if ctx.config.experts_tokens and ctx.config.backend == "openseek" and _is_ours(job):
        for category in sorted(documents):
            chosen = experts_samples(documents[category], ctx.config.experts_tokens)
            samples[f"{EXPERTS}{category}"] = chosen
    if not samples:
        raise ConfigError(
            "there is nothing to evaluate: neither a task nor a held-out document",
            where="evaluation",
            mend="Give benchmarks or held-out documents.",
        )
    return Plan(items, documents, samples)


def _is_ours(job: Json) -> bool:
    from openseek.evaluation.models import kind_of

    return kind_of(Path(job["model"])) == "native"


def cache_folder(config: EvaluationConfig, runtime: RuntimeConfig) -> str:
    """Where results are kept; empty for nowhere."""
    if config.cache == "none":
        return ""
    return config.cache or str(Path(runtime.scratch or ".openseek/scratch") / "samples")


def compute_samples(
    ctx: Context, job: Json, plan: Plan, todo: Sequence[str], compute: Compute | None = None
) -> tuple[dict[str, Json], Json]:
    """Compute what is not in the cache.

    Args:
        ctx: The step's context.
        job: The workers' job.
        plan: What is to be measured.
        todo: Units that are not finished.
        compute: Computes samples here; None: workers do.

    Returns:
        Results by the samples' keys, and {"total", "computed", "cached"}.
    """
    wanted = [s for unit in todo for s in plan.samples[unit]]
    cache = SampleCache(cache_folder(ctx.config, ctx.runtime), job["model_digest"])
    results = cache.load({s.key for s in wanted})
    cached = len(results)
    # Of all samples, whatever is known: so the chunks, and how sums round, stay the same.
    everything = [s for samples in plan.samples.values() for s in samples]
    needed = {s.key for s in wanted} - set(results)
    left = (
        [s for s in chunk if s.key in needed]
        for chunk in chunks(everything, ctx.config.batch_tokens)
    )
    computed = 0
    parts = [chunk for chunk in left if chunk]
    for answer in map(compute, parts) if compute else _execute(ctx, job, parts):
        cache.add(answer)
        results.update(answer)
        computed += len(answer)
        ctx.progress(cached + computed, cached + len(needed), "samples")
    return results, {"total": cached + computed, "computed": computed, "cached": cached}


def _execute(
    ctx: Context, job: Json, parts: Sequence[Sequence[Sample]]
) -> Iterator[dict[str, Json]]:
    if not parts:
        return
    where = ctx.config.executor or ("ray" if ctx.runtime.ray_address else "local")
    if where == "ray":
        from openseek.evaluation.ray_runner import run_chunks

        yield from run_chunks(ctx, job, parts)
        return
    units = []
    for i, part in enumerate(parts):
        path = ctx.out.scratch / f"chunk-{i}.json"
        path.write_text(json.dumps([s.to_json() for s in part]), encoding="utf-8")
        units.append({"unit": f"chunk {i}", "path": str(path)})
    processes = ctx.config.processes or default_processes(ctx.config.device)
    limits: Json = {"processes": processes, "timeout_s": ctx.config.timeout_s}
    for answer in run_units(units, job, ctx.out.scratch, **limits):
        yield answer["results"]


Finish = Callable[[Plan, str, dict[str, Json]], Json]


@contextmanager
def finishing(ctx: Context, job: Json, tasks: Sequence[str]) -> Iterator[Finish]:
    """Have a process at hand that turns a task's results into scores; it imports meanwhile."""
    scratch = ctx.out.scratch
    process = start(write_job(job, scratch), FINISH, scratch) if tasks else None
    answers: dict[str, Json] = {}

    def finish_tasks(plan: Plan, results: dict[str, Json]) -> None:
        units = []
        for task in tasks:
            if not plan.items[task]:
                continue
            given = {
                "items": [(key, vars(item)) for key, item in plan.items[task]],
                "results": {s.key: results[s.key] for s in plan.samples[task]},
            }
            path = scratch / f"finish-{task}.json"
            path.write_text(json.dumps(given), encoding="utf-8")
            units.append({"unit": task, "path": str(path)})
        limits: Json = {"processes": 1, "timeout_s": ctx.config.timeout_s}
        for answer in run_units(units, job, scratch, **limits, role=FINISH, ready=process):
            answers[answer["unit"]] = answer

    def finish(plan: Plan, unit: str, results: dict[str, Json]) -> Json:
        if unit.startswith(BPB):
            return _bits(plan, unit, results, scratch)
        if unit.startswith(EXPERTS):
            choices = add_choices(results[s.key] for s in plan.samples[unit])
            return {"files": {}, "stats": {"experts": {unit[len(EXPERTS) :]: choices}}}
        if not plan.items[unit]:
            reason = "too few long enough held-out documents"
            return {"files": {}, "stats": {"reason": reason}}
        if unit not in answers:
            finish_tasks(plan, results)
        return answers[unit]

    try:
        yield finish
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _bits(plan: Plan, unit: str, results: dict[str, Json], scratch: Path) -> Json:
    category = unit[len(BPB) :]
    pairs = zip(plan.documents[category], plan.samples[unit], strict=True)
    bits = [measured(d, results[s.key]) for d, s in pairs]
    path = scratch / f"{unit}-{os.getpid()}.parquet"
    rows = write_bits(path, bits)
    return {"files": {f"documents/{category}.parquet": str(path)}, "stats": {"documents": rows}}
