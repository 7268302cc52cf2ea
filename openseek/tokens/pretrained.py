"""Bring an existing tokenizer into a plain folder: from a path or a hub id, without its code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from openseek.artifacts.files import sha256_file
from openseek.config.tokens import TokenizerConfig
from openseek.errors import ConfigError, DataError, TransientError
from openseek.tokens.bpe import write_marks
from openseek.tokens.tiktoken import convert_tiktoken
from openseek.tokens.tokenizer import special_tokens

_KEPT_KEYS = ("chat_template", "model_max_length", "add_bos_token", "add_eos_token")
_DECLARING = ("tokenizer_config.json", "special_tokens_map.json")
_PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


def copy_tokenizer(config: TokenizerConfig, folder: Path, *, offline: bool = False) -> None:
    """Write the configured tokenizer into a folder, as a fast one with its special tokens named.

    Args:
        config: `path` names a folder or a hub id.
        folder: Where to write.
        offline: Never ask the hub.

    Raises:
        ConfigError: There is none at the path, or its digest is another.
        DataError: It cannot be had as a fast tokenizer, or lacks an end token.
        TransientError: The hub does not answer.
    """
    source = _fetch(config, offline)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, str] = {}
    if (source / "tokenizer.json").is_file():
        shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    elif any(source.glob("*.tiktoken")):
        found = convert_tiktoken(source, folder)
    else:
        _convert(source, folder)
    digest = sha256_file(folder / "tokenizer.json")
    if config.digest and not digest.startswith(config.digest.lower()):
        raise ConfigError(
            f"tokenizer.json has the digest {digest}, not {config.digest}",
            where=f"tokenizer.path={config.path!r}",
            mend="Name the digest of the one you mean, or take tokenizer.digest out.",
        )
    declared = special_tokens(
        {name: source / name for name in _DECLARING if (source / name).is_file()}
    )
    marks = found | {
        f"{kind}_token": token
        for kind in ("bos", "eos", "pad")
        if (
            token := getattr(config, f"{kind}_token")
            or declared[kind]
            or found.get(f"{kind}_token")
        )
    }
    if "eos_token" not in marks:
        raise DataError(
            "the tokenizer declares no end token",
            where=f"tokenizer.path={config.path!r}",
            mend="Name an entry of its vocabulary as tokenizer.eos_token.",
        )
    marks.setdefault("pad_token", marks["eos_token"])
    write_marks(folder, marks, _kept(source))


def _fetch(config: TokenizerConfig, offline: bool) -> Path:
    path = Path(config.path).expanduser()
    if path.is_dir():
        return path
    where = f"tokenizer.path={config.path!r}"
    if path.is_absolute() or config.path.startswith((".", "~")) or config.path.count("/") > 1:
        raise ConfigError("no such folder", where=where, mend="Check the path.")
    if offline:
        raise ConfigError(
            "no such folder, and the run is offline, so that no hub is asked",
            where=where,
            mend="Give a local folder, or set runtime.offline to false.",
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                config.path, revision=config.revision or None, allow_patterns=_PATTERNS
            )
        )
    except (RepositoryNotFoundError, ValueError) as error:
        raise ConfigError(
            f"no such folder and no such hub id: {type(error).__name__}",
            where=where,
            mend="Check the name; a private repository needs HF_TOKEN in the environment.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise TransientError(
            f"the hub does not answer: {type(error).__name__}: {error}",
            where=where,
            mend="Check the network, or give a local folder.",
        ) from error


def _convert(source: Path, folder: Path) -> None:
    """Let transformers build the fast form of a tokenizer of an older kind, without its code."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    except Exception as error:  # transformers raises many kinds here
        raise DataError(
            f"no tokenizer.json, and it cannot be made: {type(error).__name__}: {error}",
            where=str(source),
            mend="Convert it to a fast tokenizer first (it needs a tokenizer.json).",
        ) from error


def _kept(source: Path) -> dict[str, Any]:
    path = source / "tokenizer_config.json"
    if not path.is_file():
        return {}
    raw = json.loads(path.read_text(encoding="utf-8"))
    return {key: raw[key] for key in _KEPT_KEYS if raw.get(key) is not None}
