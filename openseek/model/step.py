"""The export step: a trained model becomes a Hugging Face folder, if the logits agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, names
from openseek.config.model import ExportConfig


def export(ctx: StepContext[ExportConfig]) -> dict[str, Any]:
    """Export a model with its tokenizer and compare it with transformers' own implementation.

    Inputs: `model` (`model/config.json`, `model/model.safetensors`; other files are ignored) and
    `tokenizer` (`tokenizer.json`, `tokenizer_config.json`, …). Output: `hf/*`.

    Returns:
        `max_abs_logit_diff` and `logit_diff_by_case`, `parameters_total` and `parameters_active`
        (without MTP), `files`, `bytes`.

    Raises:
        PermanentError: A logit differs by more than `parity_tolerance`.
    """
    from openseek.model.config import count_parameters
    from openseek.model.convert import export_folder
    from openseek.model.gates import export_gate
    from openseek.model.hf import files_of

    config = ctx.config
    source = _gather(ctx.inputs["model"], "model/*", ctx.out.scratch / "native")
    tokenizer = _gather(ctx.inputs["tokenizer"], "*", ctx.out.scratch / "tokenizer")
    ctx.progress(0, 3, "parts", part="weights")
    folder = ctx.out.scratch / "hf"
    model = export_folder(str(source), tokenizer, str(folder), config)
    files = files_of(folder)
    ctx.progress(1, 3, "parts", part="parity")
    parity = export_gate(source, tokenizer, folder, config, ctx.out.scratch, ctx.seed)
    ctx.log.info(
        "parity max_abs_logit_diff=%.3g tolerance=%.3g at=%s",
        parity.max_abs, config.parity_tolerance, parity.where,
    )  # fmt: skip
    ctx.progress(2, 3, "parts", part="publish")
    size = sum((folder / name).stat().st_size for name in files)
    for name in files:
        ctx.out.add(f"hf/{name}", folder / name)
    total, active = count_parameters(model)
    ctx.progress(3, 3, "parts")
    return {
        "max_abs_logit_diff": parity.max_abs,
        "logit_diff_by_case": parity.cases,
        "parameters_total": total,
        "parameters_active": active,
        "files": [f"hf/{name}" for name in files],
        "bytes": size,
    }


def _gather(files: FileSet, pattern: str, folder: Path) -> Path:
    """Link an input's files into one folder, by their last name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names(files, pattern):
        (folder / Path(name).name).symlink_to(files.local(name).resolve())
    return folder
