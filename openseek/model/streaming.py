"""Weights of a folder, ours or Hugging Face's, read a few rows at a time into a model.

Memory is the model in its own type and one piece (16 MiB in fp32), whatever the folder's size,
number of shards, type (FP8 blocks too) and names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openseek.artifacts.backend import open_backend
from openseek.config.model import ModelConfig
from openseek.errors import ConfigError, CorruptArtifactError
from openseek.model.config import from_hf_config
from openseek.model.conversion_plan import Part, Target, chunks, layout, plan_import
from openseek.model.convert import read_config
from openseek.model.model import OpenSeekModel, materialise
from openseek.model.tensor_files import TensorFolder

_UNSEEN = (
    "num_attention_heads", "num_experts_per_tok", "n_group", "topk_group", "norm_topk_prob",
    "routed_scaling_factor", "scoring_func", "rope_theta", "rms_norm_eps",
)  # fmt: skip
"""Fields that change what a model computes and that no shape shows."""


class WeightFolder:
    """The weights of a folder under our names.

    Args:
        folder: Folder or URL with config.json and safetensors, in one file or in shards.
        config: The model that is wanted.

    Raises:
        CorruptArtifactError: Ours, with weights of another architecture.
        DataError: A file is missing or cut off, or Hugging Face's do not fit.
        ConfigError: Hugging Face's config.json describes another model.
    """

    def __init__(self, folder: Path | str, config: ModelConfig) -> None:
        backend = open_backend(str(folder))
        self._source = TensorFolder(backend)
        raw = read_config(backend)
        if "model_type" in raw or "architectures" in raw:
            _check_fields(raw, config, self._source.where)
            # Rows of the vocabulary that the folder has not are zeros.
            _, targets = plan_import(
                self._source, config, mtp=config.mtp.depth > 0, pad_vocab=max(1, config.vocab_size)
            )
        else:
            targets = [
                Target(name, stored.dtype, stored.shape, (Part(name, 0, stored.rows),))
                for name, stored in self._source.tensors.items()
            ]
        self._targets = {target.name: target for target in targets}
        self._check_shapes(config)

    def fill(self, name: str, out: Tensor) -> None:
        """Copy a weight into a tensor of its shape, of any type, piece by piece."""
        target = self._targets[name]
        rows = out.view(-1, target.shape[-1] if len(target.shape) > 1 else 1)
        start = 0
        for chunk in chunks(self._source, target):
            rows[start : start + len(chunk)].copy_(chunk)
            start += len(chunk)

    def tensor(self, name: str) -> Tensor:
        """Return a weight in fp32, on the CPU."""
        out = torch.empty(self._targets[name].shape, dtype=torch.float32)
        self.fill(name, out)
        return out

    def _check_shapes(self, config: ModelConfig) -> None:
        expected = layout(config)
        for name in sorted(expected.keys() | self._targets.keys()):
            found = self._targets[name].shape if name in self._targets else None
            if expected.get(name) != found:
                raise CorruptArtifactError(
                    f"{name}: expected {_shape(expected.get(name))}, found {_shape(found)}",
                    where=self._source.where,
                    mend="The weights belong to another model: compare the `model` section with "
                    "the config.json beside them.",
                )


@torch.no_grad()
def load_streamed(
    folder: Path | str,
    config: ModelConfig,
    dtype: torch.dtype = torch.float32,
    kept: Sequence[str] | None = None,
) -> OpenSeekModel:
    """Build a model with the weights of a folder.

    Args:
        folder: As for `WeightFolder`.
        config: The model.
        dtype: Type of the weights in memory; router biases stay fp32.
        kept: As in `openseek.model.model.materialise`: only these are read.

    Raises:
        OpenSeekError: As `WeightFolder` does.
    """
    weights = WeightFolder(folder, config)
    with torch.device("meta"):
        model = OpenSeekModel(config).to(dtype)
    materialise(model, "cpu", kept)
    for buffer in model.buffers():
        buffer.zero_()
    for name, tensor in model.state_dict().items():
        if not tensor.is_meta:
            weights.fill(name, tensor)
    return model


def _check_fields(raw: Mapping[str, Any], config: ModelConfig, where: str) -> None:
    theirs = from_hf_config(raw)
    for field in _UNSEEN:
        ours, found = getattr(config, field), getattr(theirs, field)
        if ours != found:
            raise ConfigError(
                f"model.{field} is {ours}, the folder's config.json says {found}",
                where=where,
                mend=f"Set model.{field} to {found}; if the change is meant, change it in that "
                "config.json too.",
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
