"""Weights by our names and by Hugging Face's canonical DeepSeek-V3 names.

They differ in two places: experts (one 3-D tensor here, one matrix an expert there) and MTP layers
(`mtp.{k}` here, layers after the last one there, with copies of embedding and output layer). One
table serves both directions: `hf_parts` says of which tensors there ours consists, row by row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from openseek.config.model import ModelConfig

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_MTP = re.compile(r"^mtp\.(\d+)\.(.+)$")
_LAYER = re.compile(r"^model\.layers\.(\d+)\.(.+)$")
_STACKED = re.compile(r"^(.+\.mlp\.experts)\.(gate_up|down)_proj$")
_LEFTOVER = re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$")
_LINEAR = re.compile(
    r"\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj"
    r"|gate_proj|up_proj|down_proj)\.weight$"
)


@dataclass(frozen=True)
class HfPart:
    """One of Hugging Face's tensors within one of ours."""

    name: str
    shape: tuple[int, ...]


def hf_name(name: str, config: ModelConfig) -> str:
    """Name a tensor of ours in Hugging Face's layers; experts keep their 3-D name."""
    if match := _MTP.match(name):
        return f"model.layers.{config.num_hidden_layers + int(match[1])}.{match[2]}"
    return name


def hf_parts(name: str, shape: tuple[int, ...], config: ModelConfig) -> list[HfPart]:
    """List the tensors that a tensor of ours consists of, from its first row to its last.

    Experts are numbered globally, from 0 to n_routed_experts - 1, on any number of ranks.

    Args:
        name: Our name.
        shape: Our shape; rows are those of the tensor seen as [all but the last, last dimension].
        config: The model.
    """
    theirs = hf_name(name, config)
    match = _STACKED.match(theirs)
    if not match:
        return [HfPart(theirs, shape)]
    experts, rows, columns = shape
    if match[2] == "down":
        return [HfPart(f"{match[1]}.{e}.down_proj.weight", (rows, columns)) for e in range(experts)]
    half = (rows // 2, columns)
    return [
        HfPart(f"{match[1]}.{e}.{kind}_proj.weight", half)
        for e in range(experts)
        for kind in ("gate", "up")
    ]


def mtp_copies(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """List the copies that MTP layers may carry: (name of the copy, name of the original)."""
    head = EMBEDDING if config.tie_word_embeddings else HEAD
    for k in range(config.mtp.depth):
        prefix = f"model.layers.{config.num_hidden_layers + k}"
        yield f"{prefix}.embed_tokens.weight", EMBEDDING
        yield f"{prefix}.shared_head.head.weight", head


def stored_depth(names: Collection[str], config: ModelConfig) -> int:
    """Count the MTP layers among Hugging Face's names."""
    depth = 0
    while f"model.layers.{config.num_hidden_layers + depth}.eh_proj.weight" in names:
        depth += 1
    return depth


def is_leftover(name: str, config: ModelConfig, depth: int) -> bool:
    """Tell whether a tensor holds nothing that the model needs: rotary tables, MTP left out.

    Args:
        name: Hugging Face's name.
        config: The model; its MTP depth is what is wanted.
        depth: MTP layers that are stored.
    """
    layer = _LAYER.match(name)
    beyond = int(layer[1]) - config.num_hidden_layers if layer else -1
    return bool(_LEFTOVER.search(name)) or (beyond >= 0 and config.mtp.depth <= beyond < depth)


def is_linear(name: str) -> bool:
    """Tell whether FP8 checkpoints quantise a tensor.

    Embedding, output layer, norms, router and `eh_proj` stay as they are.

    Args:
        name: Hugging Face's name of it.
    """
    return bool(_LINEAR.search(name))
