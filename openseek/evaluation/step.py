"""The step that evaluates a checkpoint, and the same for a folder without a pipeline."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import Progress, StepContext, no_progress
from openseek.artifacts.files import FileSet, names
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.evaluation import EvaluationConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, PermanentError
from openseek.evaluation import leaderboard
from openseek.evaluation.catalog import BENCHMARKS
from openseek.evaluation.heldout import (
    CLOZE_GROUPS,
    DocumentBits,
    bits_per_byte,
    sample_documents,
    write_documents,
)
from openseek.evaluation.pool import default_processes, run_units
from openseek.evaluation.worker import BPB

Json = dict[str, Any]


def evaluate(ctx: StepContext[EvaluationConfig]) -> Json:
    """Measure bits per byte on held-out documents and score the tasks with lighteval.

    Inputs: `model` (config.json and weights, at the top or under model/), `tokenizer`, `heldout`
    (document shards), `benchmarks` ({task}.parquet). Outputs: scores.json,
    items/{task}.parquet (per item: log-likelihoods, picked, gold, correct),
    documents/{category}.parquet (per document: bits, bytes, tokens). A task or category that was
    finished before the step was interrupted is not done again.

    Returns:
        scores, bpb {category, "all"}, bpb_by_lang, bpb_by_source, headline, likelihood, missing
        {task: reason}, bytes, seconds.

    Raises:
        PermanentError: The suite openseek-12 lacks a row, or a task that was asked for is missing.
    """
    started = time.monotonic()
    tasks, missing = _tasks(ctx)
    job = _lay_out(ctx, tasks)
    units = _units(ctx, tasks, job.pop("categories"))
    done = ctx.out.shards()
    todo = [u for u in units if u not in done]
    ctx.progress(len(units) - len(todo), len(units), "tasks")
    processes = ctx.config.processes or default_processes(ctx.config.device)
    answers = run_units(
        todo, job, ctx.out.scratch, processes=processes, timeout_s=ctx.config.timeout_s
    )
    for n, answer in enumerate(answers, start=len(units) - len(todo) + 1):
        files = {name: Path(path) for name, path in answer["files"].items()}
        ctx.out.commit_shard(answer["unit"], files, stats=answer["stats"])
        ctx.progress(n, len(units), "tasks", task=answer["unit"])
    found = ctx.out.shards()
    results = _gather({u: found[u].stats for u in units}, missing, ctx.config)
    path = ctx.out.scratch / f"scores-{os.getpid()}.json"
    path.write_text(
        json.dumps(results, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    ctx.out.add("scores.json", path)
    return {**results, "seconds": round(time.monotonic() - started, 3)}


def evaluate_model(
    model: Path | str,
    out: Path | str,
    *,
    tokenizer: Path | str | None = None,
    heldout: Path | str | None = None,
    benchmarks: Path | str | None = None,
    config: EvaluationConfig | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Json:
    """Evaluate a model's folder, ours or Hugging Face's, without a store or a pipeline.

    Args:
        model: Folder with config.json and weights.
        out: Folder for scores.json and the items; a second call goes on where the first stopped.
        tokenizer: Tokenizer's folder; None: the model's.
        heldout: Folder of document shards; None: no bits per byte and no cloze tasks.
        benchmarks: Folder that `fetch_benchmarks` wrote; None: no benchmarks.
        config: What to measure.
        seed: Seed of samples and cloze items.
        progress: Called after each task.

    Returns:
        The metrics of `evaluate`.
    """
    inputs: dict[str, FileSet] = {
        "model": FolderFiles(model), "tokenizer": FolderFiles(tokenizer or model)
    }  # fmt: skip
    if heldout is not None:
        inputs["heldout"] = FolderFiles(heldout)
    if benchmarks is not None:
        inputs["benchmarks"] = FolderFiles(benchmarks)
    output = FolderOutput(out)
    try:
        metrics = evaluate(
            StepContext(
                config or EvaluationConfig(), inputs, output, RuntimeConfig(), seed, progress
            )
        )
        output.finish(metrics)
    finally:
        shutil.rmtree(output.scratch, ignore_errors=True)
    return metrics


def _tasks(ctx: StepContext[EvaluationConfig]) -> tuple[list[str], dict[str, str]]:
    """Return the tasks to score and the reasons of those that cannot be had."""
    available: list[str] = []
    missing: dict[str, str] = {}
    if "benchmarks" in ctx.inputs:
        benchmarks = ctx.inputs["benchmarks"]
        held = {n.removesuffix(".parquet") for n in names(benchmarks, "*.parquet")}
        available = [t for t in BENCHMARKS if t in held]
        missing = dict(benchmarks.meta.get("missing", {}))
    wanted = list(ctx.config.tasks) or available
    lacking = [t for t in wanted if t not in available]
    if lacking:
        reasons = "; ".join(f"{t}: {missing.get(t, 'not fetched')}" for t in lacking)
        raise PermanentError(
            f"tasks without data: {reasons}",
            where="evaluation.tasks",
            mend="Fetch them (benchmarks.tasks, benchmarks.folder), or leave them out.",
        )
    if ctx.config.suite == leaderboard.FULL:
        leaderboard.require_full_suite(wanted)
    return wanted, missing


def _lay_out(ctx: StepContext[EvaluationConfig], tasks: Sequence[str]) -> Json:
    """Put the inputs where the workers find them, and describe their job."""
    scratch = ctx.out.scratch
    model = ctx.inputs["model"]
    prefix = "model/" if "model/config.json" in names(model) else ""
    wanted = [n for n in names(model, f"{prefix}*") if "/" not in n[len(prefix) :]]
    heldout = ctx.inputs.get("heldout")
    documents = []
    if heldout is not None:
        shards = [heldout.local(n) for n in names(heldout, "*.parquet")]
        limits = ctx.config.heldout_bytes, ctx.config.document_bytes
        documents = sample_documents(shards, *limits, ctx.seed)
    write_documents(scratch / "heldout.parquet", documents)
    benchmarks = ctx.inputs.get("benchmarks")
    found = benchmarks.meta.get("tasks", {}) if benchmarks is not None else {}
    paths: dict[str, str] = {}
    complete = []
    for task in tasks:
        assert benchmarks is not None
        paths[task] = str(benchmarks.local(f"{task}.parquet"))
        stored = found.get(task, {})
        whole = stored.get("items") == stored.get("available")
        if whole and not 0 < ctx.config.max_samples < stored.get("items", 0):
            complete.append(task)
    return {
        "model": str(_link(model, wanted, prefix, scratch / "model")),
        "tokenizer": str(_link_tokenizer(ctx.inputs["tokenizer"], scratch / "tokenizer")),
        "heldout": str(scratch / "heldout.parquet"),
        "benchmarks": paths,
        "complete": complete,
        "config": ctx.config.model_dump(mode="json"),
        "seed": ctx.seed,
        "out": str(scratch),
        "categories": sorted({d.category for d in documents}),
    }


def _link_tokenizer(tokenizer: FileSet, target: Path) -> Path:
    small = [n for n in names(tokenizer) if "/" not in n and not n.endswith(".safetensors")]
    return _link(tokenizer, small, "", target)


def _link(files: FileSet, wanted: Sequence[str], prefix: str, target: Path) -> Path:
    """Show files under their names in one folder; in the store they may lie under others."""
    target.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        link = target / name[len(prefix) :]
        link.unlink(missing_ok=True)
        link.symlink_to(files.local(name).resolve())
    return target


def _units(
    ctx: StepContext[EvaluationConfig], tasks: Sequence[str], categories: Sequence[str]
) -> list[str]:
    """List the units of work, benchmarks first: they need the slow imports."""
    cloze = []
    if ctx.config.cloze.items:
        cloze = [t for t, (category, _) in CLOZE_GROUPS.items() if category in categories]
    units = [*tasks, *cloze, *(f"{BPB}{c}" for c in categories)]
    if not units:
        raise ConfigError(
            "there is nothing to evaluate: neither a task nor a held-out document",
            where="evaluation",
            mend="Give benchmarks or held-out documents.",
        )
    return units


def _gather(
    stats: Mapping[str, Json], missing: Mapping[str, str], config: EvaluationConfig
) -> Json:
    """Put the units' statistics together; everything in here is a function of the inputs."""
    scored = {u: s for u, s in stats.items() if "score" in s}
    scores = [s["score"] for s in scored.values()]
    reasons = {**missing, **{u: s["reason"] for u, s in stats.items() if "reason" in s}}
    documents = [DocumentBits(**d) for s in stats.values() for d in s.get("documents", [])]
    bits = bits_per_byte(documents)
    headline = None
    if config.suite != "none":
        headline = leaderboard.headline(leaderboard.row_scores(scores), config.suite)
    return {
        "scores": scores,
        "headline": headline,
        "likelihood": {u: s["likelihood"] for u, s in scored.items()},
        "lighteval": {u: s["lighteval"] for u, s in scored.items()},
        "missing": reasons,
        "bpb": {**bits["by_category"], "all": bits["all"]},
        "bpb_by_lang": bits["by_lang"],
        "bpb_by_source": bits["by_source"],
        "bytes": sum(d.bytes for d in documents),
        "tokens": sum(d.tokens for d in documents),
    }
