"""Which rows of which tensors make up each tensor of a converted folder, in both directions.

Made from names and shapes alone, so a folder that does not fit is refused before a byte is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from openseek.config.model import ModelConfig
from openseek.errors import DataError
from openseek.model.fp8 import BLOCK, E4M3, SCALE, quantise, scale_shape
from openseek.model.hf_names import (
    EMBEDDING,
    HEAD,
    HfPart,
    hf_name,
    hf_parts,
    is_leftover,
    is_linear,
    mtp_copies,
    stored_depth,
)
from openseek.model.model import OpenSeekModel
from openseek.model.tensor_files import Slot, Tensors, values

EXACT = "e_score_correction_bias"  # never rounded, whatever type the weights are saved in
CHUNK = 1 << 22
"""Values in memory at a time (16 MiB in fp32); at least 128 rows."""


@dataclass(frozen=True)
class Part:
    """Rows of a source tensor; without a name, rows of zeros."""

    tensor: str | None
    start: int
    stop: int


@dataclass(frozen=True)
class Target(Slot):
    """A tensor to write, and the rows that it consists of."""

    parts: tuple[Part, ...]
    form: Literal["plain", "fp8", "scale"] = "plain"


def layout(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return our names and shapes, in the order of the layers."""
    with torch.device("meta"):
        model = OpenSeekModel(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def chunks(source: Tensors, target: Target) -> Iterator[Tensor]:
    """Give a target's contents in order, a few rows at a time."""
    width = target.shape[-1] if len(target.shape) > 1 else 1
    if target.form == "scale":
        stored = source.tensors[target.parts[0].tensor or ""]
        width = stored.columns
    step = max(BLOCK, CHUNK // width // BLOCK * BLOCK)
    for part in target.parts:
        for start in range(part.start, part.stop, step):
            stop = min(start + step, part.stop)
            if part.tensor is None:
                yield torch.zeros(stop - start, width, dtype=target.dtype)
                continue
            rows = values(source, part.tensor, start, stop)
            if target.form == "plain":
                yield rows.to(target.dtype)
            else:
                weight, scale = quantise(rows)
                yield weight if target.form == "fp8" else scale


def plan_import(
    source: Tensors,
    config: ModelConfig,
    *,
    dtype: torch.dtype | None = None,
    mtp: bool = True,
    pad_vocab: int = 1,
) -> tuple[ModelConfig, list[Target]]:
    """Say how our tensors are made of a Hugging Face folder's.

    Args:
        source: The folder's tensors.
        config: As its config.json says. Two things are taken from the tensors instead: rows of the
            vocabulary (often padded) and the depth of MTP.
        dtype: Type of the weights; None: as stored, bf16 for FP8.
        mtp: Keep the MTP layers.
        pad_vocab: Make the vocabulary a multiple of this, by rows of zeros.

    Returns:
        The config of what is written, and the plan.

    Raises:
        DataError: A tensor is missing, unexpected or of another shape, or a copy of embedding or
            output layer differs from its original.
    """
    names = source.tensors.keys()
    if EMBEDDING not in names:
        raise _missing(HfPart(EMBEDDING, (config.vocab_size, config.hidden_size)), source)
    rows = source.tensors[EMBEDDING].rows
    depth = stored_depth(names, config) if mtp else 0
    if mtp and depth:
        depth = max(depth, config.mtp.depth)  # fewer than promised: the check names the first
    section = config.mtp.model_copy(update={"depth": depth})
    stored = config.model_copy(update={"vocab_size": rows, "mtp": section})
    padded = -(-rows // pad_vocab) * pad_vocab
    targets, used = [], set()
    for name, shape in layout(stored).items():
        parts = []
        for hf in _sources(name, shape, stored, source):
            _check(hf, source)
            parts.append(Part(hf.name, 0, source.tensors[hf.name].rows))
            used.add(hf.name)
        if name in (EMBEDDING, HEAD) and padded > rows:
            parts.append(Part(None, 0, padded - rows))
            shape = (padded, shape[1])
        kept = dtype or source.tensors[parts[0].tensor or ""].dtype
        kept = torch.bfloat16 if kept == E4M3 else kept
        kept = torch.float32 if name.endswith(EXACT) else kept
        targets.append(Target(name, kept, shape, tuple(parts)))
    _check_rest(source, stored, used)
    return stored.model_copy(update={"vocab_size": padded}), targets


def plan_export(
    source: Tensors,
    config: ModelConfig,
    *,
    dtype: torch.dtype | None = None,
    mtp: bool = False,
    fp8: bool = False,
    stacked: bool = False,
) -> list[Target]:
    """Say how Hugging Face's tensors are made of ours.

    Args:
        source: Our tensors.
        config: The model; with a `vocab_size` below the stored rows, padding rows are cut off.
        dtype: Type of the weights; None: as they are.
        mtp: Also the MTP layers, with their copies of embedding and output layer.
        fp8: Store linear layers as e4m3 with a scale for each 128x128 block.
        stacked: Experts in 3-D as transformers has them in memory, not one by one.

    Raises:
        DataError: A tensor is missing or of another shape.
    """
    targets = []
    for name, shape in layout(config).items():
        if name.startswith("mtp.") and not mtp:
            continue
        ours = HfPart(name, shape)
        _check(ours, source, at_least=name in (EMBEDDING, HEAD))
        kept = torch.float32 if name.endswith(EXACT) else dtype or source.tensors[name].dtype
        start = 0
        whole = [HfPart(hf_name(name, config), shape)]
        for hf in whole if stacked else hf_parts(name, shape, config):
            rows = prod(hf.shape[:-1]) if len(hf.shape) > 1 else hf.shape[0]
            part = (Part(name, start, start + rows),)
            start += rows
            if fp8 and is_linear(hf.name):
                grid = scale_shape(*hf.shape)
                targets.append(Target(hf.name, E4M3, hf.shape, part, "fp8"))
                targets.append(Target(hf.name + SCALE, torch.float32, grid, part, "scale"))
            else:
                targets.append(Target(hf.name, kept, hf.shape, part))
    if mtp:
        by_name = {target.name: target for target in targets}
        for copy, original in mtp_copies(config):
            o = by_name[original]
            targets.append(Target(copy, o.dtype, o.shape, o.parts))
    return targets


def _sources(
    name: str, shape: tuple[int, ...], config: ModelConfig, source: Tensors
) -> list[HfPart]:
    whole = HfPart(hf_name(name, config), shape)
    return [whole] if whole.name in source.tensors else hf_parts(name, shape, config)


def _check(wanted: HfPart, source: Tensors, *, at_least: bool = False) -> None:
    found = source.tensors.get(wanted.name)
    if found is None:
        raise _missing(wanted, source)
    same = found.shape == wanted.shape
    if at_least:  # a table of the vocabulary, of which padding rows are cut off
        same = found.shape[1:] == wanted.shape[1:] and found.shape[0] >= wanted.shape[0]
    if not same:
        raise DataError(
            f"{wanted.name}: expected {list(wanted.shape)}, found {list(found.shape)}",
            where=f"{source.where}/{found.file}",
            mend="config.json belongs to another model, or the file does: fetch both again.",
        )


def _missing(wanted: HfPart, source: Tensors) -> DataError:
    return DataError(
        f"{wanted.name}: expected {list(wanted.shape)}, found nothing "
        f"among {len(source.tensors)} tensors",
        where=source.where,
        mend="The folder is incomplete, or its config.json belongs to another model.",
    )


def _check_rest(source: Tensors, config: ModelConfig, used: set[str]) -> None:
    copies, depth = dict(mtp_copies(config)), stored_depth(source.tensors, config)
    if config.tie_word_embeddings:
        copies[HEAD] = EMBEDDING
    for name, stored in sorted(source.tensors.items()):
        known = name in used or name.removesuffix(SCALE) in used
        if known or is_leftover(name, config, depth):
            continue
        where = f"{source.where}/{stored.file}"
        if name not in copies:
            raise DataError(
                f"{name} {list(stored.shape)} is unexpected", where=where,
                mend="config.json describes a model without it: check n_routed_experts, "
                "q_lora_rank, tie_word_embeddings, num_hidden_layers and n_shared_experts there.",
            )  # fmt: skip
        if not _equal(source, name, copies[name]):
            mend = "Import without the MTP layers (mtp=false), or mend the folder."
            if name == HEAD:
                mend = "If the model has an output layer of its own, set tie_word_embeddings to "
                mend += "false in config.json; else remove the tensor."
            raise DataError(
                f"{name} should be a copy of {copies[name]}, but differs", where=where, mend=mend
            )


def _equal(source: Tensors, left: str, right: str) -> bool:
    a, b = source.tensors[left], source.tensors[right]
    if a.shape != b.shape:
        return False
    step = max(1, CHUNK // a.columns)
    return all(
        torch.equal(
            values(source, left, start, min(start + step, a.rows)).float(),
            values(source, right, start, min(start + step, a.rows)).float(),
        )
        for start in range(0, a.rows, step)
    )
