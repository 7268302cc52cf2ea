"""A model in memory to a Hugging Face folder and back; `convert.py` does folders of any size."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from openseek.artifacts.backend import open_backend
from openseek.config.model import ExportConfig
from openseek.model.config import from_hf_config
from openseek.model.conversion_plan import Target, chunks, plan_import
from openseek.model.convert import export_tensors, read_config
from openseek.model.model import OpenSeekModel
from openseek.model.native import from_weights
from openseek.model.tensor_files import MemoryTensors, TensorFolder


def export_hf(
    model: OpenSeekModel,
    tokenizer_folder: Path,
    out: Path,
    *,
    dtype: torch.dtype | None = None,
    mtp: bool = False,
) -> list[str]:
    """Write config, generation config, weights and tokenizer; the bytes depend on these alone.

    Args:
        model: The model.
        tokenizer_folder: With `tokenizer.json` and its companions.
        out: Where to write; made if missing.
        dtype: Type of the weights; None: as they are.
        mtp: Also write the MTP layers, as layers after the last one.

    Returns:
        Names of the files written, sorted.

    Raises:
        DataError: The tokenizer has more entries than the model.
    """
    kind = "stored" if dtype is None else str(dtype).removeprefix("torch.")
    config = ExportConfig.model_validate({"dtype": kind, "mtp": mtp})
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    backend = open_backend(str(out))
    export_tensors(MemoryTensors(weights), model.config, tokenizer_folder, backend, config)
    return files_of(out)


def files_of(folder: Path) -> list[str]:
    """Return the names of a folder's files, sorted; hidden ones are left out."""
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def import_hf(
    folder: Path, dtype: torch.dtype = torch.float32, *, mtp: bool = True
) -> OpenSeekModel:
    """Read a DeepSeek-V3 folder of Hugging Face, in one file or in shards, FP8 or not.

    Copies (an output layer that the config ties, those of MTP layers) must equal their originals.
    MTP layers that the config names but the folder has not are left out.

    Raises:
        DataError: Something is missing, unexpected, mis-shaped or cut off.
    """
    backend = open_backend(str(folder))
    config = from_hf_config(read_config(backend))
    source = TensorFolder(backend)
    config, targets = plan_import(source, config, dtype=dtype, mtp=mtp)
    weights = {target.name: _assemble(source, target) for target in targets}
    return from_weights(config, weights, dtype, where=str(folder))


def _assemble(source: TensorFolder, target: Target) -> Tensor:
    whole = torch.empty(target.shape, dtype=target.dtype)
    flat, done = whole.view(-1), 0
    for chunk in chunks(source, target):
        flat[done : done + chunk.numel()] = chunk.reshape(-1)
        done += chunk.numel()
    return whole
