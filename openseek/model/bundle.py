"""What belongs to a checkpoint beside its weights: config, generation config, tokenizer."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch

from openseek.artifacts.backend import Backend
from openseek.config.model import ExportConfig, ModelConfig
from openseek.config.tokens import TokenizerConfig
from openseek.errors import DataError
from openseek.model.config import to_hf_config
from openseek.model.fp8 import BLOCK
from openseek.tokens.pretrained import copy_tokenizer
from openseek.tokens.tiktoken import lenient_json
from openseek.tokens.tokenizer import load_tokenizer

log = logging.getLogger(__name__)

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip
_SMALL = (".json", ".txt", ".tiktoken", ".model", ".jinja")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


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


def bundle_export(
    model: ModelConfig, tokenizer: Path | None, config: ExportConfig, dtype: torch.dtype
) -> dict[str, bytes]:
    """Return the files of a Hugging Face folder beside its weights, config.json last.

    Raises:
        DataError: The tokenizer has more entries than the model.
    """
    ids: dict[str, int | None] = dict.fromkeys(("bos", "eos", "pad"))
    files: dict[str, bytes] = {}
    generation: dict[str, Any] = {"do_sample": False}
    if tokenizer is not None:
        _check_vocabulary(model, tokenizer)
        ids = special_ids(tokenizer)
        generation |= lenient_json(tokenizer / GENERATION)
        for name in TOKENIZER_FILES:
            if (tokenizer / name).is_file():
                files[name] = (tokenizer / name).read_bytes()
    generation |= {f"{name}_token_id": i for name, i in ids.items() if i is not None}
    kind = str(dtype).removeprefix("torch.")
    hf = to_hf_config(model, dtype=kind, mtp=config.mtp, **ids)
    if config.fp8:
        hf["quantization_config"] = {
            "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
            "weight_block_size": [BLOCK, BLOCK],
        }  # fmt: skip
    return files | {GENERATION: _json(generation), "config.json": _json(hf)}


def bundle_import(source: Backend, out: Backend, vocab_size: int) -> None:
    """Bring a checkpoint's tokenizer and generation config along, the former without its code.

    Raises:
        DataError: The tokenizer cannot be converted, or has more entries than the model.
    """
    names = [e.path for e in source.list("") if "/" not in e.path and e.path.endswith(_SMALL)]
    has_tokenizer = any(n in _TOKENIZERS or n.endswith(".tiktoken") for n in names)
    with tempfile.TemporaryDirectory(prefix="openseek-bundle-") as scratch:
        theirs, ours = Path(scratch) / "theirs", Path(scratch) / "ours"
        theirs.mkdir()
        ours.mkdir()
        for name in names:
            if not name.endswith(".safetensors.index.json"):
                source.get(name, theirs / name)
        if has_tokenizer:
            copy_tokenizer(TokenizerConfig(path=str(theirs)), ours)
            entries = load_tokenizer(ours).vocab_size
            if entries > vocab_size:
                raise _too_many(entries, vocab_size, source.root)
        else:
            log.warning("no tokenizer in %s: none is bundled", source.root)
        if generation := lenient_json(theirs / GENERATION):
            (ours / GENERATION).write_bytes(_json(generation))
        elif GENERATION in names:
            log.warning("%s/%s is not JSON: left out", source.root, GENERATION)
        for path in sorted(ours.iterdir()):
            out.put(path.name, path, move=False)


def _check_vocabulary(config: ModelConfig, tokenizer_folder: Path) -> None:
    from tokenizers import Tokenizer

    path = tokenizer_folder / "tokenizer.json"
    if not path.is_file():
        raise DataError("no tokenizer.json", where=str(tokenizer_folder), mend="Check the folder.")
    entries = Tokenizer.from_file(str(path)).get_vocab_size()
    if entries > config.vocab_size:
        raise _too_many(entries, config.vocab_size, str(tokenizer_folder))


def _too_many(entries: int, rows: int, where: str) -> DataError:
    return DataError(
        f"the tokenizer has {entries} entries, the model only {rows}", where=where,
        mend="Use the tokenizer that the model was trained with.",
    )  # fmt: skip


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
