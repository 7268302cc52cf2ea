"""Find repeated passages of 200 bytes: `passages.py WHO FOLDER RESULT [PEER THREADS]`.

WHO is a function below. RESULT gets the repeated bytes as packed bits, documents in order one
after the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 200


def step(folder: Path, _: str) -> np.ndarray | None:
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


def pydivsufsort(folder: Path, result: str) -> np.ndarray:
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
    doc = np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1)
    at = at[(at >= starts[doc]) & (at + LENGTH <= ends[doc])]
    np.add.at(delta, at, 1)
    np.add.at(delta, at + LENGTH, -1)
    covered = np.cumsum(delta[:-1]) > 0
    print(json.dumps({"bytes": int(covered.sum()), "result": result}))
    return np.concatenate([covered[a:b] for a, b in zip(starts, ends, strict=True)])


def google(folder: Path, result: str, peer: str, threads: str) -> np.ndarray:
    """google-research/deduplicate-text-datasets, built in release mode in the folder `peer`.

    The commands are those of its README: its script that makes the suffix array in parts (four of
    them between 10 MB and 1 GB) and merges them, then `self-similar` and `collect`. Documents are
    set apart as its loaders do it: two bytes 255 and the number of the document in four.
    """
    import subprocess

    def call(*command: str) -> str:
        done = subprocess.run([binary, *command], check=True, capture_output=True, text=True)
        return done.stdout

    binary = f"{peer}/target/release/dedup_dataset"
    with tempfile.TemporaryDirectory() as work:
        data = f"{work}/data"
        starts, ends = _with_numbers(folder, Path(data))
        size = Path(data).stat().st_size
        parts = 4 if size > 10e6 else 1
        step, names, running = size // parts, [], []
        for i in range(parts):
            a, b = i * step, min((i + 1) * step + 100_000, size)
            names.append(f"{data}.part.{a}-{b}")
            options = ["--data-file", data, "--start-byte", str(a), "--end-byte", str(b)]
            running.append(subprocess.Popen([binary, "make-part", *options]))
            if len(running) >= int(threads):
                _finish(running)
        _finish(running)
        merged = f"{work}/out"
        inputs = [word for name in names for word in ("--suffix-path", name)]
        call("merge", "--output-file", merged, *inputs, "--num-threads", threads)
        with Path(f"{data}.table.bin").open("wb") as table:
            for part in sorted(Path(work).glob("out.table.bin.*")):
                table.write(part.read_bytes())
                part.unlink()
        width = Path(f"{data}.table.bin").stat().st_size // size
        about = ["--data-file", data, "--length-threshold", str(LENGTH), "--cache-dir", f"{work}/c"]
        call("self-similar", *about, "--num-threads", threads)
        ranges = np.array(call("collect", *about).split("out\n", 1)[1].split(), np.int64)
        hits = [_numbers(path, width) for path in Path(work, "c").glob("dups_*")]
    # Its windows may begin or end inside a separator, and then match with less text than LENGTH:
    # `collected` counts them, the marks are of those that lie in one document.
    at = np.sort(np.concatenate(hits))
    document = np.searchsorted(starts, at, side="right") - 1
    inside = (document >= 0) & (at + LENGTH <= np.array(ends)[document])
    collected = _cover(ranges[::2], ranges[1::2], size)
    covered = _cover(at[inside], at[inside] + LENGTH, size)
    counts = {}
    for name, marked in (("collected", collected), ("bytes", covered)):
        found = np.concatenate([marked[a:b] for a, b in zip(starts, ends, strict=True)])
        counts[name] = int(found.sum())
    print(json.dumps({**counts, "result": result}))
    return found


def _numbers(path: Path, width: int) -> np.ndarray:
    """Read numbers of `width` bytes, the smallest first."""
    raw = np.fromfile(path, np.uint8).reshape(-1, width)
    return np.pad(raw, ((0, 0), (0, 8 - width))).view(np.int64).ravel()


def _cover(starts: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    change = np.zeros(size + LENGTH + 1, np.int32)
    np.add.at(change, starts, 1)
    np.add.at(change, ends, -1)
    return np.cumsum(change[:size]) > 0


def _finish(running: list[Any]) -> None:
    if any(process.wait() for process in running):
        raise RuntimeError("make-part failed")
    running.clear()


def _with_numbers(folder: Path, data: Path) -> tuple[list[int], list[int]]:
    """Write all texts with a separator before each; return where they start and end."""
    import pyarrow.parquet as pq

    starts, ends, at = [], [], 0
    with data.open("wb") as out:
        for path in sorted(folder.glob("*.parquet")):
            for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
                raw = text.encode()
                at += out.write(b"\xff\xff" + len(starts).to_bytes(4, "little"))
                starts.append(at)
                at += out.write(raw)
                ends.append(at)
    return starts, ends


def marks(folder: Path, _: str) -> np.ndarray:
    """Ours, without a step: the bytes themselves, to compare with another's.

    Before the cuts shrink to whole characters, which no other does.
    """
    import pyarrow.parquet as pq

    from openseek.config.substring import SubstringConfig
    from openseek.dedup import find_substrings, substring

    substring.cut_text = lambda raw, spans, config: substring.Cut(0, spans)
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
    who, source, result, *more = sys.argv[1:]
    bits = globals()[who](Path(source), result, *more)
    if bits is not None:
        np.save(result, np.packbits(bits))
