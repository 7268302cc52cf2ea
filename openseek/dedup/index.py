"""The index of a deduplicated corpus, so that next month's crawl is compared with last month's.

The step writes, beside its shards, `index/{shard}.npy` with a row for each document that it kept,
and `index/index.json` with what the rows mean and the digests of the files. A row is the 16-byte
digest, the id, the keys of the bands, and the low byte of each MinHash: 384 bytes by default. The
low bytes estimate the Jaccard similarity (b-bit minwise hashing, Li and König, WWW 2010) without
the text: two documents with similarity s agree in s + (1 - s) / 256 of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openseek.artifacts.files import FileRecord, Json
from openseek.config.dedup import DedupConfig, EarlierIndex
from openseek.config.runtime import RuntimeConfig
from openseek.errors import ConfigError, CorruptArtifactError, DataError

FORMAT = 2
NAME = "index/index.json"
_MATCH_BY_CHANCE = 1 / 256


def row_type(config: DedupConfig) -> np.dtype[Any]:
    """Return the type of an index's rows."""
    return np.dtype(
        [
            ("digest", "<u8", (2,)),
            ("id", "S32"),
            ("keys", "<u8", (config.keys,)),
            ("bits", "u1", (config.bands * config.rows,)),
            ("empty", "u1"),
        ]
    )


def rows(
    ids: list[str],
    digests: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    table: NDArray[np.uint32],
    shingles: NDArray[np.int64],
    config: DedupConfig,
) -> NDArray[Any]:
    """Make rows of an index from what deduplication computes of documents."""
    found = np.zeros(len(ids), row_type(config))
    found["digest"], found["id"], found["empty"] = digests, ids, shingles == 0
    found["keys"], found["bits"] = keys, table & np.uint32(255)
    return found


def similarity(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Estimate Jaccard similarities from low bytes of MinHashes, uint8 of shape [pairs, hashes].

    The standard error is about sqrt(s (1 - s) / hashes): .043 at .7 of 112.
    """
    equal = (left == right).mean(axis=1)
    return np.asarray((equal - _MATCH_BY_CHANCE) / (1 - _MATCH_BY_CHANCE))


def describe(files: list[FileRecord], config: DedupConfig) -> Json:
    """Describe an index, for its `index.json`."""
    found = sorted((f.name, f.size, f.sha256) for f in files)
    return {
        "format": FORMAT,
        **{k: getattr(config, k) for k in ("ngram", "bands", "rows", "groupings", "seed")},
        "files": [dict(zip(("name", "size", "sha256"), f, strict=True)) for f in found],
    }


def pin(config: DedupConfig, runtime: RuntimeConfig) -> DedupConfig:
    """Fix the content of the earlier indexes in the configuration, by the digests of their lists.

    Raises:
        ConfigError: An index is another one than configured, or was made with other shingles.
    """
    pinned = []
    for earlier in config.against:
        digest, _ = open_index(earlier, config)
        pinned.append(earlier.model_copy(update={"digest": digest}))
    return config.model_copy(update={"against": tuple(pinned)})


def open_index(earlier: EarlierIndex, config: DedupConfig) -> tuple[str, list[FileRecord]]:
    """Read what an index consists of.

    Returns:
        Its digest, and its files with their places in `path`.
    """
    places = _places(earlier.path)
    raw = _read(places.get(NAME) or f"{earlier.path.rstrip('/')}/{NAME}")
    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    if earlier.digest not in ("", digest):
        raise ConfigError(
            f"the index has the digest {digest}, not {earlier.digest}",
            where=f"dedup.against: {earlier.path}",
            mend="It was made anew; leave the digest out to take it as it is now.",
        )
    about = json.loads(raw)
    for key in ("ngram", "bands", "rows", "groupings", "seed"):
        if about.get(key) != getattr(config, key):
            raise ConfigError(
                f"the index was made with {key}={about.get(key)}, not {getattr(config, key)}",
                where=f"dedup.against: {earlier.path}",
                mend=f"Set dedup.{key} to {about.get(key)}, or make the index again.",
            )
    root = earlier.path.rstrip("/")
    files = [
        FileRecord(**f, path=places.get(f["name"]) or f"{root}/{f['name']}") for f in about["files"]
    ]
    return digest, files


def fetch(file: FileRecord, scratch: Path) -> NDArray[Any]:
    """Read one file of an index and check it.

    Raises:
        CorruptArtifactError: It is not what the index says it is.
    """
    raw = _read(file.path)
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise CorruptArtifactError(
            "the content does not match the index's list", where=file.path, mend="Copy it again."
        )
    path = scratch / f"{file.sha256[:16]}-{os.getpid()}.npy"
    path.write_bytes(raw)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    finally:
        path.unlink()


def _places(path: str) -> dict[str, str]:
    """Tell where the files of a step's folder in a store lie; empty for a plain folder."""
    root = path.rstrip("/")
    try:
        manifest = json.loads(_read(f"{root}/_MANIFEST.json"))
    except DataError:
        return {}
    return {f["name"]: f"{root}/{f['path']}" for f in manifest["files"]}


def _read(url: str) -> bytes:
    from openseek.corpus.streams import open_bytes

    with open_bytes(url) as stream:
        return bytes(stream.read())
