"""Checkpoints converted from folder to folder: a few rows in memory at a time, resumable.

    import_folder("s3://bucket/DeepSeek-V3", "native")      Hugging Face's layout to ours
    export_folder("native", "native", "s3://bucket/hf")     and back

Folders are local paths or fsspec URLs. Shards appear whole or not at all; `.conversion.json` in
the output names those that are done and what they are made from, so the same call again goes on
after a kill and does nothing once all is there. `config.json` is written last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from openseek.artifacts.backend import Backend, open_backend
from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig, ModelConfig
from openseek.errors import ConfigError, DataError
from openseek.model.bundle import bundle_export, bundle_import
from openseek.model.config import from_hf_config
from openseek.model.conversion_plan import Target, chunks, plan_export, plan_import
from openseek.model.fp8 import SCALE
from openseek.model.tensor_files import INDEX, WEIGHTS, TensorFolder, Tensors, write_file

log = logging.getLogger(__name__)

CONFIG, STATE = "config.json", ".conversion.json"
Progress = Callable[[str, int, int], None]
"""Called with the shard, the bytes written of all and the bytes there will be."""


def import_folder(
    source: str, out: str, config: ImportConfig | None = None, progress: Progress | None = None
) -> ModelConfig:
    """Convert a Hugging Face DeepSeek-V3 checkpoint to our native folder.

    Args:
        source: Folder or URL with config.json and safetensors, in one file or in shards.
        out: Folder or URL to write: config.json, weights, and the tokenizer's files beside them.
        config: Types, shard size, MTP; None: the defaults.
        progress: Told of every piece that was written.

    Returns:
        The model as it is stored.

    Raises:
        DataError: Something is missing, unexpected, mis-shaped or cut off; nothing was written.
        ConfigError: `out` holds something else.
    """
    config = config or ImportConfig()
    theirs, target = open_backend(source), open_backend(out)
    folder = TensorFolder(theirs)
    declared = from_hf_config(read_config(theirs))
    model, targets = plan_import(
        folder, declared, dtype=dtype_of(config.dtype), mtp=config.mtp, pad_vocab=config.pad_vocab
    )
    if model.vocab_size != declared.vocab_size:
        log.warning("vocab_size config=%d stored=%d", declared.vocab_size, model.vocab_size)
    digest = _digest(theirs, targets, config.max_shard_bytes)
    write_folder(folder, targets, target, config.max_shard_bytes, digest, progress)
    bundle_import(theirs, target, model.vocab_size)
    write_json_to(target, CONFIG, model.identity())
    return model


def export_folder(
    source: str,
    tokenizer: Path | None,
    out: str,
    config: ExportConfig | None = None,
    progress: Progress | None = None,
) -> ModelConfig:
    """Convert our native folder to a Hugging Face checkpoint that transformers loads.

    Args:
        source: Folder or URL with our config.json and weights.
        tokenizer: Local folder with tokenizer.json and its companions; None: none is bundled.
        out: Folder or URL to write.
        config: Type, FP8, MTP, shard size, layout of the experts; None: the defaults.
        progress: Told of every piece that was written.

    Returns:
        The model as it is stored.

    Raises:
        DataError: Weights are missing or mis-shaped, or the tokenizer has more entries.
        ConfigError: `out` holds something else.
    """
    config = config or ExportConfig()
    ours, target = open_backend(source), open_backend(out)
    folder = TensorFolder(ours)
    model = ModelConfig.model_validate(read_config(ours))
    return export_tensors(
        folder, model, tokenizer, target, config,
        digest=lambda targets: _digest(ours, targets, config.max_shard_bytes), progress=progress,
    )  # fmt: skip


def export_tensors(
    source: Tensors,
    model: ModelConfig,
    tokenizer: Path | None,
    out: Backend,
    config: ExportConfig,
    *,
    digest: Callable[[Sequence[Target]], str] = lambda targets: "",
    progress: Progress | None = None,
) -> ModelConfig:
    """Write a Hugging Face checkpoint from tensors of ours, wherever they are."""
    if config.vocab_size:
        if config.vocab_size > model.vocab_size:
            raise ConfigError(
                f"vocab_size={config.vocab_size} exceeds the model's {model.vocab_size}",
                where="export", mend="It cuts padding off; give the tokenizer's size, or 0.",
            )  # fmt: skip
        model = model.model_copy(update={"vocab_size": config.vocab_size})
    dtype = dtype_of(config.dtype)
    targets = plan_export(
        source, model, dtype=dtype, mtp=config.mtp, fp8=config.fp8, stacked=config.stacked_experts
    )
    files = bundle_export(model, tokenizer, config, dtype or _main_dtype(targets))
    write_folder(source, targets, out, config.max_shard_bytes, digest(targets), progress)
    for name, data in files.items():  # config.json is the last of them
        out.write(name, data)
    return model


def write_folder(
    source: Tensors,
    targets: Sequence[Target],
    out: Backend,
    max_shard_bytes: int,
    digest: str,
    progress: Progress | None = None,
) -> None:
    """Write tensors as one file or as shards with an index; finished shards are kept.

    Args:
        source: What the targets are made from.
        targets: What to write.
        out: Where.
        max_shard_bytes: Largest shard; a larger tensor gets a shard of its own.
        digest: Says what this is made from; empty: not resumable, whatever is there is replaced.
        progress: As in `import_folder`.
    """
    shards = split(targets, max_shard_bytes)
    done = _resume(out, digest) if digest else {}
    total, written = sum(t.size for t in targets), 0
    sizes = {entry.path: entry.size for entry in out.list("")} if done else {}
    for file, part in shards.items():
        if file in done and sizes.get(file) == done[file]:
            written += sum(t.size for t in part)
            continue
        with _scratch(out) as scratch:
            staged = Path(scratch) / f".{file}.partial"

            def told(target: Any, file: str = file) -> Iterable[torch.Tensor]:
                nonlocal written
                for chunk in chunks(source, target):
                    yield chunk
                    written += chunk.numel() * chunk.element_size()
                    if progress:
                        progress(file, written, total)

            write_file(staged, part, told)
            done[file] = staged.stat().st_size
            out.put(file, staged, move=True)
        if digest:
            write_json_to(out, STATE, {"digest": digest, "shards": done})
    if len(shards) > 1:
        names = {t.name: file for file, part in shards.items() for t in part}
        write_json_to(out, INDEX, {"metadata": {"total_size": total}, "weight_map": names})


def split(targets: Sequence[Target], max_bytes: int) -> dict[str, list[Target]]:
    """Group tensors into files of at most `max_bytes`, in order; FP8 weights keep their scales."""
    groups: list[list[Target]] = [[]]
    size = 0
    for target in targets:
        tied = target.name.endswith(SCALE)
        if groups[-1] and not tied and size + target.size > max_bytes:
            groups.append([])
            size = 0
        groups[-1].append(target)
        size += target.size
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    stem, suffix = WEIGHTS.rsplit(".", 1)
    return {
        f"{stem}-{i:05d}-of-{len(groups):05d}.{suffix}": g for i, g in enumerate(groups, start=1)
    }


def read_config(backend: Backend) -> dict[str, Any]:
    """Read a folder's config.json.

    Raises:
        DataError: There is none, or it is not JSON.
    """
    try:
        raw: dict[str, Any] = json.loads(backend.read(CONFIG)[0])
    except FileNotFoundError:
        raise DataError(
            "no file config.json", where=backend.root, mend="Check the folder."
        ) from None
    except ValueError as error:
        raise DataError(
            f"config.json is not JSON: {error}", where=backend.root, mend="Fetch it again."
        ) from error
    return raw


def dtype_of(name: str) -> torch.dtype | None:
    """Return the type of a name; None for `stored`."""
    return None if name == "stored" else getattr(torch, name)


def write_json_to(out: Backend, name: str, value: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    out.write(name, text.encode())


def _main_dtype(targets: Sequence[Target]) -> torch.dtype:
    return next((t.dtype for t in targets if t.form == "plain"), torch.float32)


def _digest(source: Backend, targets: Sequence[Target], max_shard_bytes: int) -> str:
    files = sorted(
        (e.path, e.size, e.modified)
        for e in source.list("")
        if e.path.endswith((".safetensors", INDEX, CONFIG))
    )
    plan = [{**asdict(t), "dtype": str(t.dtype)} for t in targets]
    text = json.dumps([source.root, files, plan, max_shard_bytes])
    return hashlib.sha256(text.encode()).hexdigest()


def _resume(out: Backend, digest: str) -> dict[str, int]:
    """Return shard -> size of what an earlier call finished."""
    try:
        state = json.loads(out.read(STATE)[0])
    except FileNotFoundError:
        if any(e.path.endswith((".safetensors", CONFIG)) for e in out.list("")):
            raise _foreign(out) from None
        return {}
    if state["digest"] != digest:
        raise _foreign(out)
    shards: dict[str, int] = state["shards"]
    return shards


def _foreign(out: Backend) -> ConfigError:
    return ConfigError(
        "the output folder holds a model that is not this conversion's", where=out.root,
        mend="Give another folder, or empty this one (the source or an option has changed).",
    )  # fmt: skip


def _scratch(out: Backend) -> AbstractContextManager[Any]:
    local = out.local("")
    if local is None:
        return tempfile.TemporaryDirectory(prefix="openseek-convert-")
    local.mkdir(parents=True, exist_ok=True)
    return nullcontext(local)
