"""Weights by our names and by Hugging Face's canonical DeepSeek-V3 names.

They differ in two places: experts (one 3-D tensor here, one matrix an expert there) and MTP layers
(`mtp.{k}` here, layers after the last one there, with copies of embedding and output layer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from openseek.config.model import ModelConfig
from openseek.errors import DataError

_MTP = re.compile(r"^mtp\.(\d+)\.(.+)$")
_LAYER = re.compile(r"^model\.layers\.(\d+)\.(.+)$")
_EXPERT = re.compile(r"^(.+\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$")
_COPIES = ("embed_tokens.weight", "shared_head.head.weight")


def to_hf(
    weights: Mapping[str, Tensor], config: ModelConfig, *, mtp: bool
) -> Iterator[tuple[str, Tensor]]:
    """Rename and split our weights.

    Args:
        weights: As in `OpenSeekModel.state_dict()`.
        config: The model.
        mtp: Whether to give the MTP layers.
    """
    for name, tensor in weights.items():
        if match := _MTP.match(name):
            if not mtp:
                continue
            name = f"model.layers.{config.num_hidden_layers + int(match[1])}.{match[2]}"
        yield from _split(name, tensor)
    if mtp:
        embedding = weights["model.embed_tokens.weight"]
        head = weights.get("lm_head.weight", embedding)
        for k in range(config.mtp.depth):
            prefix = f"model.layers.{config.num_hidden_layers + k}"
            yield f"{prefix}.{_COPIES[0]}", embedding.clone()
            yield f"{prefix}.{_COPIES[1]}", head.clone()


def _split(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name.endswith(".mlp.experts.gate_up_proj"):
        base = name.removesuffix(".gate_up_proj")
        for e, both in enumerate(tensor):
            gate, up = both.chunk(2)
            yield f"{base}.{e}.gate_proj.weight", gate.contiguous()
            yield f"{base}.{e}.up_proj.weight", up.contiguous()
    elif name.endswith(".mlp.experts.down_proj"):
        for e, down in enumerate(tensor):
            yield f"{name.removesuffix('.down_proj')}.{e}.down_proj.weight", down.contiguous()
    else:
        yield name, tensor


def from_hf(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Rename and stack Hugging Face's weights; copies and rotary tables are left out.

    Raises:
        DataError: An expert's matrix is missing.
    """
    ours: dict[str, Tensor] = {}
    experts: dict[str, dict[tuple[str, int], Tensor]] = {}
    for name, tensor in weights.items():
        if name.endswith("rotary_emb.inv_freq"):
            continue
        layer = _LAYER.match(name)
        if layer and int(layer[1]) >= config.num_hidden_layers:
            depth = int(layer[1]) - config.num_hidden_layers
            if layer[2] in _COPIES or depth >= config.mtp.depth:
                continue
            name = f"mtp.{depth}.{layer[2]}"
        if expert := _EXPERT.match(name):
            experts.setdefault(expert[1], {})[expert[3], int(expert[2])] = tensor
        else:
            ours[name] = tensor
    for base, parts in experts.items():
        ours |= _stack(base, parts, config.n_routed_experts)
    return ours


def _stack(base: str, parts: dict[tuple[str, int], Tensor], count: int) -> dict[str, Tensor]:
    wanted = [(kind, e) for kind in ("gate", "up", "down") for e in range(count)]
    missing = [key for key in wanted if key not in parts]
    if missing or len(parts) != len(wanted):
        what = f"expert {missing[0][1]} has no {missing[0][0]}_proj" if missing else "more experts"
        raise DataError(
            f"{what} than n_routed_experts={count} says" if not missing else what,
            where=base,
            mend="The folder is incomplete or its config.json belongs to another model.",
        )
    both = [torch.cat([parts["gate", e], parts["up", e]]) for e in range(count)]
    return {
        f"{base}.gate_up_proj": torch.stack(both),
        f"{base}.down_proj": torch.stack([parts["down", e] for e in range(count)]),
    }
