"""Exact substrings of 200 bytes: the whole step against a suffix array.

google-research/deduplicate-text-datasets is Rust in a repository, in no package index, so it is
named as missing; it was measured elsewhere at 1.08 MB per CPU-second on such a corpus.
"""

from __future__ import annotations

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
        theirs, ours = Path(work) / "theirs.npy", Path(work) / "ours.npy"
        mine = harness.ours(PROGRAM, "step", str(folder), str(ours))
        peers = [
            harness.peer("pydivsufsort", PROGRAM, "pydivsufsort", str(folder), str(theirs),
                         package="pydivsufsort"),
            harness.Contender(GOOGLE, (), missing="in no package index"),
        ]  # fmt: skip

        def agree(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
            command = [sys.executable, str(PROGRAM), "marks", str(folder), str(ours)]
            subprocess.run(command, check=True, cwd=harness.ROOT)
            x, y = np.load(ours), np.load(theirs)
            return {
                "bytes": a["bytes"],
                "their_bytes": b["bytes"],
                "only_ours": int(np.bitwise_count(x & ~y).sum()),
                "only_theirs": int(np.bitwise_count(y & ~x).sum()),
            }

        return harness.compare(
            "exact substring", mine, peers, n_bytes=n_bytes, n_documents=n_documents, runs=runs,
            agree=agree,
        )  # fmt: skip
