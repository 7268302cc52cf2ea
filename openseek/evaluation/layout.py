"""A job laid out in a folder: inputs under plain names, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, names
from openseek.config.evaluation import EvaluationConfig
from openseek.evaluation.heldout import Document, sample_documents
from openseek.evaluation.sample_cache import model_digest

Json = dict[str, Any]


def lay_out(ctx: StepContext[EvaluationConfig], tasks: Sequence[str]) -> Json:
    """Put model and tokenizer where the workers find them, and describe their job."""
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
    model, tokenizer = ctx.inputs["model"], ctx.inputs["tokenizer"]
    return {
        **link_model(model, tokenizer, ctx.out.scratch),
        "model_digest": model_digest(model, _prefix(model), tokenizer, ctx.config),
        "benchmarks": paths,
        "complete": complete,
        "config": ctx.config.model_dump(mode="json"),
        "out": str(ctx.out.scratch),
    }


def documents_of(ctx: StepContext[EvaluationConfig]) -> list[Document]:
    """Draw the held-out documents."""
    heldout = ctx.inputs.get("heldout")
    if heldout is None:
        return []
    shards = [heldout.local(n) for n in names(heldout, "*.parquet")]
    return sample_documents(shards, ctx.config.heldout_bytes, ctx.config.document_bytes, ctx.seed)


def link_model(model: FileSet, tokenizer: FileSet, folder: Path) -> Json:
    """Show the files of model and tokenizer in folders; returns their paths as a job has them."""
    prefix = _prefix(model)
    wanted = [n for n in names(model, f"{prefix}*") if "/" not in n[len(prefix) :]]
    small = [n for n in names(tokenizer) if "/" not in n and not n.endswith(".safetensors")]
    return {
        "model": str(_link(model, wanted, prefix, folder / "model")),
        "tokenizer": str(_link(tokenizer, small, "", folder / "tokenizer")),
    }


def _prefix(model: FileSet) -> str:
    return "model/" if "model/config.json" in names(model) else ""


def _link(files: FileSet, wanted: Sequence[str], prefix: str, target: Path) -> Path:
    """Show files under their names in one folder; in the store they may lie under others."""
    target.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        link = target / name[len(prefix) :]
        link.unlink(missing_ok=True)
        link.symlink_to(files.local(name).resolve())
    return target
