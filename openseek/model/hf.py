"""A Hugging Face folder that transformers loads: written, read back, compared logit by logit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openseek.config.model import ModelConfig
from openseek.errors import DataError
from openseek.model.config import from_hf_config, to_hf_config
from openseek.model.hf_names import from_hf, to_hf
from openseek.model.model import OpenSeekModel
from openseek.model.moe import Router
from openseek.model.native import WEIGHTS, commit, from_weights, weights_of, write_json

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
INDEX = "model.safetensors.index.json"
# Rounding may swap two experts whose scores are this close; then nothing can be compared.
TIE = 1e-5


def special_ids(tokenizer_folder: Path) -> dict[str, int | None]:
    """Return the ids of bos, eos and pad of a tokenizer folder; None for those it has not."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    named: dict[str, Any] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        path = tokenizer_folder / file
        if path.is_file():
            named |= json.loads(path.read_text(encoding="utf-8"))
    ids = {}
    for kind in ("bos", "eos", "pad"):
        token = named.get(f"{kind}_token")
        text = token.get("content") if isinstance(token, dict) else token
        ids[kind] = tokenizer.token_to_id(text) if text else None
    return ids


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
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    _check_vocabulary(model.config, tokenizer_folder)
    ids = special_ids(tokenizer_folder)
    kind = str(dtype or model.output_weight_VD.dtype).removeprefix("torch.")
    staged = out / f".{WEIGHTS}.{os.getpid()}"
    named = dict(sorted(to_hf(weights_of(model, dtype), model.config, mtp=mtp)))
    save_file(named, staged, metadata={"format": "pt"})
    commit(staged, out / WEIGHTS)
    write_json(out / "config.json", to_hf_config(model.config, dtype=kind, mtp=mtp, **ids))
    generation = {f"{name}_token_id": i for name, i in ids.items() if i is not None}
    write_json(out / "generation_config.json", {"do_sample": False, **generation})
    for name in TOKENIZER_FILES:
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, out / name)
    return sorted(p.name for p in out.iterdir() if not p.name.startswith("."))


def _check_vocabulary(config: ModelConfig, tokenizer_folder: Path) -> None:
    from tokenizers import Tokenizer

    path = tokenizer_folder / "tokenizer.json"
    if not path.is_file():
        raise DataError("no tokenizer.json", where=str(tokenizer_folder), mend="Check the folder.")
    entries = Tokenizer.from_file(str(path)).get_vocab_size()
    if entries > config.vocab_size:
        raise DataError(
            f"the tokenizer has {entries} entries, the model only {config.vocab_size}",
            where=str(tokenizer_folder),
            mend="Export with the tokenizer that the model was trained with.",
        )


def import_hf(folder: Path, dtype: torch.dtype = torch.float32) -> OpenSeekModel:
    """Read a DeepSeek-V3 folder of Hugging Face, in one file or in shards.

    An output layer that is stored although the config ties it (as in OpenSeek-Small-v1) is dropped
    if it equals the embedding, and kept as an untied one if it does not. MTP layers that the config
    names but the folder has not are left out.

    Raises:
        DataError: Files are missing or incomplete.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise DataError("no config.json", where=str(folder), mend="Check the folder.")
    config = from_hf_config(json.loads(path.read_text(encoding="utf-8")))
    weights = _read_weights(folder)
    first_mtp = f"model.layers.{config.num_hidden_layers}.eh_proj.weight"
    changes: dict[str, Any] = {}
    if config.mtp.depth and first_mtp not in weights:
        changes["mtp"] = config.mtp.model_copy(update={"depth": 0})
    head, embedding = weights.get("lm_head.weight"), weights["model.embed_tokens.weight"]
    if config.tie_word_embeddings and head is not None:
        if torch.equal(head, embedding):
            del weights["lm_head.weight"]
        else:
            changes["tie_word_embeddings"] = False
    config = config.model_copy(update=changes)
    return from_weights(config, from_hf(weights, config), dtype, where=str(folder))


def _read_weights(folder: Path) -> dict[str, Tensor]:
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


@torch.no_grad()
def logit_parity(model: OpenSeekModel, hf_folder: Path, tokens_BT: Tensor) -> float:
    """Compare our logits with those of transformers' DeepseekV3, both in fp32 on the CPU.

    Sequences in which two experts' scores are closer than rounding (1e-5) at the edge of the
    selection are left out: either choice would be right.

    Args:
        model: With the weights that were exported, in fp32 (rounded as they were).
        hf_folder: The exported folder.
        tokens_BT: Sequences to compare on.

    Returns:
        The largest absolute difference of any logit.

    Raises:
        DataError: transformers finds weights missing, or every sequence has a tie.
    """
    from transformers import DeepseekV3ForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    theirs, info = DeepseekV3ForCausalLM.from_pretrained(
        hf_folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    if missing := sorted(info["missing_keys"]):
        raise DataError(
            f"transformers misses {len(missing)} weights, first {missing[0]}",
            where=str(hf_folder),
            mend="This is a defect of the export.",
        )
    theirs.eval()
    was_training = model.training
    model.eval()
    ours_BTV, margin_B = _logits_and_margins(model, tokens_BT)
    model.train(was_training)
    clear_B = margin_B > TIE
    if not bool(clear_B.any()):
        raise DataError("every sequence has a tie between experts", mend="Compare more sequences.")
    theirs_BTV = theirs(input_ids=tokens_BT[clear_B]).logits
    return float((ours_BTV[clear_B] - theirs_BTV).abs().max())


def _logits_and_margins(model: OpenSeekModel, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
    margins: list[Tensor] = []

    def watch(router: torch.nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(router, Router)
        margins.append(router.margin(inputs[0]).view(tokens_BT.shape).amin(dim=1))

    hooks = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, Router)]
    try:
        logits_BTV = model.logits(model.hidden_states(tokens_BT))
    finally:
        for hook in hooks:
            hook.remove()
    far_B = torch.full((tokens_BT.shape[0],), float("inf"))
    return logits_BTV, torch.stack([far_B, *margins]).amin(dim=0)
