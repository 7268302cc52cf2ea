"""Results of samples, kept by (model digest, sample): nothing is computed twice.

One small file a chunk, which appears whole or not at all, in a folder or under an fsspec URL, so
that a process that is killed loses only what it was computing, and several can share a cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from typing import Any

from openseek.artifacts.backend import open_backend
from openseek.artifacts.files import FileSet, sha256_file
from openseek.config.evaluation import EvaluationConfig

Json = dict[str, Any]
log = logging.getLogger(__name__)

SCORER = 2
"""Raised when the same sample gets another result for the same model."""


class SampleCache:
    """Results of one model.

    Args:
        root: Folder or fsspec URL; empty: keep nothing.
        model: Digest of the model.
    """

    def __init__(self, root: str, model: str) -> None:
        self.root = root
        self.model = model

    def load(self, wanted: Iterable[str]) -> dict[str, Json]:
        """Return the results of the wanted samples that are there; a damaged file is none."""
        keys = set(wanted)
        found: dict[str, Json] = {}
        if not self.root:
            return found
        backend = open_backend(self.root)
        for entry in sorted(backend.list(self.model), key=lambda e: e.path):
            try:
                results = json.loads(backend.read(entry.path)[0])["results"]
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                log.warning("samples=damaged file=%s", entry.path)
                continue
            found.update((k, v) for k, v in results.items() if k in keys and k not in found)
        return found

    def add(self, results: dict[str, Json]) -> None:
        """Keep the results of a chunk."""
        if not self.root or not results:
            return
        name = hashlib.sha256("".join(sorted(results)).encode()).hexdigest()[:24]
        body = json.dumps({"results": results}, sort_keys=True, ensure_ascii=False)
        open_backend(self.root).create(
            f"{self.model}/{name}.json", body.encode("utf-8", "surrogatepass")
        )


def model_digest(files: FileSet, prefix: str, tokenizer: FileSet, config: EvaluationConfig) -> str:
    """Digest what decides a sample's result: weights, tokenizer, types, batches, this code.

    Args:
        files: The model's files, at the top or under `prefix`.
        prefix: "" or "model/".
        tokenizer: The tokenizer's files.
        config: Its type, context length, batch size and backend are part of the digest.
    """
    parts: list[Any] = [
        SCORER, config.dtype, config.context_length, config.batch_tokens, config.backend
    ]  # fmt: skip
    for source, top in ((files, prefix), (tokenizer, "")):
        for record in source.records():
            name = record.name[len(top) :]
            if not record.name.startswith(top) or "/" in name or not _counts(name, source is files):
                continue
            parts.append([name, record.sha256 or sha256_file(source.local(record.name))])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _counts(name: str, is_model: bool) -> bool:
    weights = name.endswith((".safetensors", ".bin"))
    return weights or name == "config.json" if is_model else "token" in name or name == "vocab.json"
