"""Exact substrings of 200 bytes: the whole step against suffix arrays.

google-research/deduplicate-text-datasets is Rust in a repository, in no package index. Build it
(`cargo build --release` in a clone of it) and name its folder in PEER_SUBSTRING; else it is named
as missing. It runs with one thread and with two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import harness
import numpy as np
from data_minhash import size

PROGRAM = Path(__file__).parent / "programs" / "passages.py"
GOOGLE = "google-research/deduplicate-text-datasets"


def measure(folder: Path, runs: int = 3) -> list[harness.Row]:
    """Compare on the folder's documents."""
    n_bytes, n_documents = size(folder)
    with tempfile.TemporaryDirectory() as work:
        found = {name: Path(work) / f"{name}.npy" for name in ("ours", "suffix", "google")}
        mine = harness.ours(PROGRAM, "step", str(folder), str(found["ours"]))
        peers = [
            harness.peer("pydivsufsort", PROGRAM, "pydivsufsort", str(folder), str(found["suffix"]),
                         package="pydivsufsort"),
            *(google(folder, found["google"], threads) for threads in (1, 2)),
        ]  # fmt: skip

        def agree(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
            if not found["ours"].exists():
                command = [sys.executable, str(PROGRAM), "marks", str(folder), str(found["ours"])]
                subprocess.run(command, check=True, cwd=harness.ROOT)
            x, y = np.load(found["ours"]), np.load(b["result"])
            return {
                "bytes": a["bytes"],
                "their_bytes": b["bytes"],
                "only_ours": int(np.bitwise_count(x & ~y).sum()),
                "only_theirs": int(np.bitwise_count(y & ~x).sum()),
                **{name: b[name] for name in ("collected",) if name in b},
            }

        return harness.compare(
            "exact substring", mine, peers, n_bytes=n_bytes, n_documents=n_documents, runs=runs,
            agree=agree,
        )  # fmt: skip


def google(folder: Path, result: Path, threads: int) -> harness.Contender:
    """Make the contender of google-research's program, from the folder in PEER_SUBSTRING."""
    home = os.environ.get("PEER_SUBSTRING", "")
    binary = Path(home) / "target" / "release" / "dedup_dataset"
    name = f"{GOOGLE}, {threads} thread{'s' * (threads > 1)}"
    if not home:
        return harness.Contender(name, (), missing="PEER_SUBSTRING does not name its folder")
    if not binary.exists():
        return harness.Contender(name, (), missing=f"no {binary}: run `cargo build --release`")
    command = (sys.executable, str(PROGRAM), "google", str(folder), str(result), home, str(threads))
    return harness.Contender(name, command)
