"""Put the content of files that a configuration names by path into the step's identity."""

from __future__ import annotations

import hashlib
from pathlib import Path

from openseek.artifacts.files import sha256_file
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.errors import ConfigError


def pin(config: SynthesisConfig, runtime: RuntimeConfig) -> SynthesisConfig:
    """Take the digests of seed problems, key points, annotations and rows of other steps.

    Raises:
        ConfigError: One of them cannot be read.
    """
    named = {
        "knowledge.seeds": config.knowledge.seeds,
        "knowledge.path": config.knowledge.path,
        "annotations": config.annotations,
        **{f"recipes.{r.name}.rows_from": r.rows_from for r in config.recipes},
    }
    digests = {key: _digest(key, Path(path)) for key, path in named.items() if path}
    return config.model_copy(update={"digests": digests})


def _digest(key: str, path: Path) -> str:
    try:
        if not path.is_dir():
            return sha256_file(path)
        files = sorted(p for p in path.glob("*.parquet") if not p.name.startswith(("_", ".")))
        parts = [f"{p.name} {sha256_file(p)}" for p in files]
    except OSError as error:
        raise ConfigError(
            f"{str(path)!r} cannot be read: {error.strerror}", where=f"synthesis.{key}",
            mend="Check the path; it is read on this machine.",
        ) from error  # fmt: skip
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
