"""Find repeated passages of 200 bytes: `passages.py WHO FOLDER RESULT`, WHO a function below.

RESULT gets the repeated bytes as packed bits, documents in order one after the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

LENGTH = 200


def step(folder: Path) -> np.ndarray | None:
    """Ours, the whole step in this process, shards written; counts, but marks nothing."""
    from openseek.artifacts import FolderFiles, FolderOutput, StepContext
    from openseek.config.runtime import RuntimeConfig
    from openseek.config.substring import SubstringConfig
    from openseek.dedup import passes
    from openseek.dedup.substring_step import exact_substring

    passes.map_shards = lambda fn, shards, *, args=(), **_: [fn(s, *args) for s in shards]
    config = SubstringConfig(preset="bytes-200", keep="none", snap="character")
    with tempfile.TemporaryDirectory() as out:
        inputs = {"documents": FolderFiles(folder)}
        context = StepContext(config, inputs, FolderOutput(out), RuntimeConfig())
        metrics = exact_substring(context)
    print(json.dumps({"bytes": metrics["bytes"]["duplicated"]}))
    return None


def pydivsufsort(folder: Path) -> np.ndarray:
    """A suffix array and its common prefixes (Kasai) over all texts, with separators."""
    import pyarrow.parquet as pq
    from pydivsufsort import divsufsort, kasai

    parts, lengths = [], []
    for path in sorted(folder.glob("*.parquet")):
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
            raw = text.encode()
            parts += [raw, b"\xff" + len(lengths).to_bytes(4, "big")]
            lengths.append(len(raw))
    buf = np.frombuffer(bytearray(b"".join(parts)), np.uint8)
    order = divsufsort(buf)
    common = kasai(buf, order)  # with the next one in order
    repeated = np.zeros(buf.size, np.bool_)
    hit = common >= LENGTH
    repeated[order[hit]] = True
    repeated[order[1:][hit[:-1]]] = True
    ends = np.cumsum(np.array(lengths) + 5) - 5
    starts = ends - lengths
    delta = np.zeros(buf.size + 1, np.int32)
    at = np.flatnonzero(repeated)
    doc = np.searchsorted(ends, at, side="right")
    at = at[at + LENGTH <= ends[np.minimum(doc, len(ends) - 1)]]
    np.add.at(delta, at, 1)
    np.add.at(delta, at + LENGTH, -1)
    covered = np.cumsum(delta[:-1]) > 0
    print(json.dumps({"bytes": int(covered.sum())}))
    return np.concatenate([covered[a:b] for a, b in zip(starts, ends, strict=True)])


def marks(folder: Path) -> np.ndarray:
    """Ours, without a step: the bytes themselves, to compare with another's."""
    import pyarrow.parquet as pq

    from openseek.config.substring import SubstringConfig
    from openseek.dedup import find_substrings

    config = SubstringConfig(preset="bytes-200", keep="none", snap="character")
    tables = [pq.read_table(p, columns=["text"]) for p in sorted(folder.glob("*.parquet"))]
    texts = [t for table in tables for t in table["text"].to_pylist()]
    found = []
    for text, cut in zip(texts, find_substrings(texts, config), strict=True):
        found.append(np.zeros(len(text.encode()), np.bool_))
        for a, b in cut.spans.tolist():
            found[-1][a:b] = True
    return np.concatenate(found)


if __name__ == "__main__":
    who, source, result = sys.argv[1:]
    bits = globals()[who](Path(source))
    if bits is not None:
        np.save(result, np.packbits(bits))
