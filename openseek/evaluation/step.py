"""The step that evaluates a checkpoint, and the same for a folder without a pipeline."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openseek.artifacts.context import Progress, StepContext, no_progress
from openseek.artifacts.files import FileSet, names
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.evaluation import EvaluationConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import PermanentError
from openseek.evaluation import leaderboard
from openseek.evaluation.catalog import BENCHMARKS
from openseek.evaluation.heldout import DocumentBits, bits_per_byte
from openseek.evaluation.layout import lay_out
from openseek.evaluation.runner import Compute, compute_samples, finishing, make_plan
from openseek.evaluation.specialisation import specialisation

Json = dict[str, Any]


def evaluate(ctx: StepContext[EvaluationConfig], compute: Compute | None = None) -> Json:
    """Measure bits per byte on held-out documents and score the tasks with lighteval.

    Inputs: `model` (config.json and weights, at the top or under model/), `tokenizer`, `heldout`
    (document shards), `benchmarks` ({task}.parquet). Outputs: scores.json,
    items/{task}.parquet (per item: log-likelihoods, picked, gold, correct),
    documents/{category}.parquet (per document: bits, bytes, tokens). No sample is computed twice
    for the same model, after an interruption as in a later evaluation (`sample_cache`).

    Args:
        ctx: The step's context.
        compute: Computes samples in this process (`inplace`); None: workers load the model.

    Returns:
        scores, bpb {category, "all"}, bpb_by_lang, bpb_by_source, headline, likelihood, experts
        (see `specialisation`; None for models without), missing {task: reason}, bytes, digests
        {model, tasks}, samples {total, computed, cached}, seconds.

    Raises:
        PermanentError: The suite openseek-12 lacks a row, or a task that was asked for is missing.
    """
    started = time.monotonic()
    tasks, missing = _tasks(ctx)
    done = ctx.out.shards()
    job = lay_out(ctx, tasks)
    plan = make_plan(ctx, job)
    todo = [u for u in plan.units if u not in done]
    ctx.progress(len(plan.units) - len(todo), len(plan.units), "tasks")
    with finishing(ctx, job, [u for u in todo if u in plan.items]) as finish:
        results, counts = compute_samples(ctx, job, plan, todo, compute)
        for n, unit in enumerate(todo, start=len(plan.units) - len(todo) + 1):
            answer = finish(plan, unit, results)
            files = {name: Path(path) for name, path in answer["files"].items()}
            ctx.out.commit_shard(unit, files, stats=answer["stats"])
            ctx.progress(n, len(plan.units), "tasks", task=unit)
    found = ctx.out.shards()
    gathered = _gather({u: found[u].stats for u in plan.units}, missing, ctx.config)
    gathered["digests"] = {"model": job["model_digest"], "tasks": plan.digests}
    path = ctx.out.scratch / f"scores-{os.getpid()}.json"
    path.write_text(
        json.dumps(gathered, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    ctx.out.add("scores.json", path)
    return {**gathered, "samples": counts, "seconds": round(time.monotonic() - started, 3)}


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
    compute: Compute | None = None,
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
        compute: As in `evaluate`.

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
            ),
            compute,
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
    if ctx.config.suite in leaderboard.suites():
        leaderboard.require_full_suite(wanted, ctx.config.suite)
    return wanted, missing


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
        "likelihood": {u: s["likelihood"] for u, s in scored.items() if "likelihood" in s},
        "lighteval": {u: s["lighteval"] for u, s in scored.items() if "lighteval" in s},
        "missing": reasons,
        "bpb": {**bits["by_category"], "all": bits["all"]},
        "bpb_by_lang": bits["by_lang"],
        "bpb_by_source": bits["by_source"],
        "experts": specialisation(
            {c: k for s in stats.values() for c, k in s.get("experts", {}).items()}
        ),
        "bytes": sum(d.bytes for d in documents),
        "tokens": sum(d.tokens for d in documents),
    }
