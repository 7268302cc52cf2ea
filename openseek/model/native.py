"""Our own folder: `config.json` (the ModelConfig) and `model.safetensors` (the module's names).

Weights are full tensors by name, so any number of ranks reads the same folder; each takes its rows
of the experts by global number (`read_experts`). A converted folder may be in shards with an index.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from openseek.artifacts.backend import open_backend
from openseek.config.model import ModelConfig
from openseek.errors import ConfigError, CorruptArtifactError, DataError
from openseek.model.conversion_plan import EXACT
from openseek.model.model import OpenSeekModel
from openseek.model.tensor_files import INDEX, TensorFolder, write_tensors
from openseek.model.tensor_files import WEIGHTS as WEIGHTS

CONFIG = "config.json"


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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{WEIGHTS}.{os.getpid()}"
    write_tensors(staged, weights)
    commit(staged, folder / WEIGHTS)
    (folder / INDEX).unlink(missing_ok=True)  # of shards that lay here before
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
    folder = Path(folder)
    weights = INDEX if (folder / INDEX).is_file() else WEIGHTS
    for name in (CONFIG, weights):
        if not (folder / name).is_file():
            raise DataError(f"no file {name}", where=str(folder), mend="Check the folder.")
    config = ModelConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    return from_weights(config, read_weights(folder), dtype, where=str(folder))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder, in one file or in the shards that its index names.

    Raises:
        DataError: A file is missing.
    """
    from safetensors.torch import load_file

    index = folder / INDEX
    files = [WEIGHTS]
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    weights: dict[str, Tensor] = {}
    for name in files:
        if not (folder / name).is_file():
            raise DataError(f"no file {name}", where=str(folder), mend="Fetch the folder again.")
        weights |= load_file(folder / name)
    return weights


def expert_range(n_experts: int, ep_size: int, ep_rank: int) -> range:
    """Return the global numbers of the experts that a rank holds: equal runs, in order.

    Raises:
        ConfigError: The experts cannot be shared equally.
    """
    if ep_size < 1 or n_experts % ep_size or not 0 <= ep_rank < ep_size:
        raise ConfigError(
            f"{n_experts} experts, ep_size={ep_size}, ep_rank={ep_rank}", where="parallel.ep",
            mend="ep_size must divide n_routed_experts, and ranks run from 0 to ep_size - 1.",
        )  # fmt: skip
    each = n_experts // ep_size
    return range(ep_rank * each, (ep_rank + 1) * each)


def read_experts(folder: Path | str, name: str, experts: range) -> Tensor:
    """Read some of a layer's experts from a native folder, and no other bytes.

    Args:
        folder: Native folder or URL.
        name: A 3-D parameter, e.g. `model.layers.1.mlp.experts.down_proj`.
        experts: Global numbers, as `expert_range` gives.

    Returns:
        [len(experts), rows, columns], as stored.
    """
    source = TensorFolder(open_backend(str(folder)))
    shape = source.tensors[name].shape
    rows = source.rows(name, experts.start * shape[1], experts.stop * shape[1])
    return rows.view(len(experts), *shape[1:])


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
