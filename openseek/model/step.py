"""The export step: a trained model becomes a Hugging Face folder, if the logits agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, names
from openseek.config.model import ExportConfig
from openseek.errors import PermanentError


def export(ctx: StepContext[ExportConfig]) -> dict[str, Any]:
    """Export a model with its tokenizer and compare it with transformers' own implementation.

    Inputs: `model` (`model/config.json`, `model/model.safetensors`; other files are ignored) and
    `tokenizer` (`tokenizer.json`, `tokenizer_config.json`, …). Output: `hf/*`.

    Returns:
        `max_abs_logit_diff`, `parameters_total` and `parameters_active` (without MTP), `files`,
        `bytes`.

    Raises:
        PermanentError: A logit differs by more than `parity_tolerance`.
    """
    import torch

    from openseek.model.config import count_parameters
    from openseek.model.hf import export_hf, logit_parity
    from openseek.model.native import load_native

    config = ctx.config
    dtype: torch.dtype = getattr(torch, config.dtype)
    source = _gather(ctx.inputs["model"], "model/*", ctx.out.scratch / "native")
    tokenizer = _gather(ctx.inputs["tokenizer"], "*", ctx.out.scratch / "tokenizer")
    ctx.progress(0, 3, "parts", part="weights")
    model = load_native(source)
    folder = ctx.out.scratch / "hf"
    files = export_hf(model, tokenizer, folder, dtype=dtype, mtp=config.mtp)
    ctx.progress(1, 3, "parts", part="parity")
    model.to(dtype).to(torch.float32)
    generator = torch.Generator().manual_seed(ctx.seed)
    length = min(config.parity_length, model.config.max_position_embeddings)
    shape = (config.parity_sequences, length)
    tokens_BT = torch.randint(model.config.vocab_size, shape, generator=generator)
    worst = logit_parity(model, folder, tokens_BT)
    ctx.log.info("parity max_abs_logit_diff=%.3g tolerance=%.3g", worst, config.parity_tolerance)
    if not worst <= config.parity_tolerance:
        raise PermanentError(
            f"a logit differs from transformers' by {worst:.3g}, "
            f"more than {config.parity_tolerance:.3g}",
            where="export",
            mend="The exported model would answer differently from the trained one; this is a "
            "defect of the conversion or a change in transformers. Nothing was published.",
        )
    ctx.progress(2, 3, "parts", part="publish")
    size = sum((folder / name).stat().st_size for name in files)
    for name in files:
        ctx.out.add(f"hf/{name}", folder / name)
    total, active = count_parameters(model.config)
    ctx.progress(3, 3, "parts")
    return {
        "max_abs_logit_diff": worst,
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
