"""Weights from outside of a run, which its first stage starts from (`train.start`)."""

from __future__ import annotations

from pathlib import Path

from openseek.artifacts.files import Json, names
from openseek.artifacts.folder import FolderFiles
from openseek.config.runtime import RuntimeConfig
from openseek.config.training import TrainStepConfig
from openseek.corpus.fetch import downloads_root
from openseek.corpus.remote import Found
from openseek.corpus.snapshot import DigestCache
from openseek.errors import ConfigError, DataError
from openseek.training.job import MODEL, OPTIMIZER

FILES = (f"{MODEL}/*", f"{OPTIMIZER}/*", "*.safetensors", "*.safetensors.index.json", "config.json")
"""What ranks read of the input `previous`: a training state, or a folder of weights."""


def start_files(config: TrainStepConfig) -> FolderFiles | None:
    """Open what the stage starts from; None: it is not the first one, or starts afresh.

    Raises:
        ConfigError: A URL.
        DataError: The folder is missing, or holds no weights.
    """
    folder = config.train.start
    if not folder or config.index:
        return None
    if "://" in folder:
        raise ConfigError(
            f"{folder!r} is a URL", where="train.start",
            mend="Give a local folder: openseek.model.import_folder fetches and converts one.",
        )  # fmt: skip
    files = FolderFiles(folder)
    for pattern in ("*config.json", "*.safetensors"):
        if not names(files, pattern):
            raise DataError(
                f"no file {pattern}", where=folder,
                mend="train.start is a folder of weights, ours or Hugging Face's.",
            )  # fmt: skip
    return files


def snapshot(config: TrainStepConfig, runtime: RuntimeConfig) -> Json:
    """Identify by content what the stage starts from, wherever it lies."""
    files = start_files(config)
    if files is None:
        return {}
    cache = DigestCache(downloads_root(runtime) / "digests.json")
    found = {}
    for name in sorted({n for pattern in FILES for n in names(files, pattern)}):
        path: Path = files.local(name)
        stat = path.stat()
        found[name] = cache.digest(Found(name, str(path), stat.st_size, stat.st_mtime_ns))
    cache.save()
    return {"start": found}
