"""Our own folder: `config.json` (the ModelConfig) and `model.safetensors` (the module's names)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.errors import CorruptArtifactError, DataError
from openseek.model.model import OpenSeekModel

CONFIG, WEIGHTS = "config.json", "model.safetensors"
EXACT = "e_score_correction_bias"  # never rounded, whatever type the weights are saved in


def weights_of(model: nn.Module, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Copy a model's weights and router biases to the CPU, in `dtype` if given."""
    weights = {}
    for name, tensor in sorted(model.state_dict().items()):
        kept = torch.float32 if name.endswith(EXACT) else dtype or tensor.dtype
        weights[name] = tensor.detach().to("cpu", kept, copy=True).contiguous()
    return weights


def save_native(
    model: OpenSeekModel, folder: Path | str, *, dtype: torch.dtype | None = None
) -> None:
    """Write `config.json` and `model.safetensors`; each file appears whole or not at all.

    The bytes depend on the config and the weights alone.

    Args:
        model: The model.
        folder: Where to write; made if missing.
        dtype: Type of the saved weights; None: as they are.
    """
    save_weights(weights_of(model, dtype), model.config, folder)


def save_weights(weights: dict[str, Tensor], config: ModelConfig, folder: Path | str) -> None:
    """Write weights that were gathered elsewhere (an engine's fp32 masters) as a native folder."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{WEIGHTS}.{os.getpid()}"
    save_file(dict(sorted(weights.items())), staged, metadata={"format": "pt"})
    commit(staged, folder / WEIGHTS)
    write_json(folder / CONFIG, config.identity())


def load_native(folder: Path | str, dtype: torch.dtype = torch.float32) -> OpenSeekModel:
    """Read a model that `save_native` wrote.

    Args:
        folder: With `config.json` and `model.safetensors`.
        dtype: Type of the weights in memory.

    Raises:
        DataError: A file is missing.
        CorruptArtifactError: The weights do not fit the config.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise DataError(f"no file {name}", where=str(folder), mend="Check the folder.")
    config = ModelConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    return from_weights(config, load_file(folder / WEIGHTS), dtype, where=str(folder))


def from_weights(
    config: ModelConfig, weights: dict[str, Tensor], dtype: torch.dtype, *, where: str = ""
) -> OpenSeekModel:
    """Build a model around weights by name.

    Raises:
        CorruptArtifactError: A weight is missing, left over, or of another shape.
    """
    with torch.device("meta"):
        model = OpenSeekModel(config)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = weights[name].shape if name in weights else None
        if expected.get(name) != found:
            raise CorruptArtifactError(
                f"{name}: expected {_shape(expected.get(name))}, found {_shape(found)}",
                where=where,
                mend="config.json and model.safetensors belong to different models.",
            )  # fmt: skip
    typed = {
        name: tensor.to(torch.float32 if name.endswith(EXACT) else dtype)
        for name, tensor in weights.items()
    }
    model.load_state_dict(typed, assign=True)
    for module in model.modules():  # what is not saved has no storage yet
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, torch.zeros_like(buffer, device="cpu"))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    staged.write_text(text, encoding="utf-8")
    commit(staged, path)


def commit(staged: Path, path: Path) -> None:
    """Flush a staged file to disk and give it its name."""
    with staged.open("rb") as f:
        os.fsync(f.fileno())
    os.replace(staged, path)


def _shape(shape: torch.Size | None) -> str:
    return "nothing" if shape is None else str(list(shape))
