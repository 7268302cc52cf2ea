"""Kill -9 of `openseek data clean` and all its processes in the middle of its shards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from openseek.corpus import make_document, write_documents
from tests.faults.test_kill import kill_tree
from tests.runs import OPENSEEK

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SHARDS = 10
TEXT = (
    "The boats that have to go down the river with the grain pass town number {}. "
    "Nobody would be surprised if half of them were late, for it rained all week. "
)


def corpus(folder: Path) -> Path:
    """Write shards of some 4 MB, so that each is work for a moment."""
    folder.mkdir()
    for shard in range(SHARDS):
        rows = [
            make_document(
                "".join(TEXT.format(k) for k in range(i % 30)) + f"Write to a{i}@example.org!",
                source="web", category="foundation", lang="und", license="x", origin=f"{shard}-{i}",
            )
            for i in range(1800)
        ]  # fmt: skip
        write_documents(folder / f"web-{shard:05d}.parquet", rows)
    return folder


def clean(source: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [OPENSEEK, "data", "clean", str(source), str(out), "--workers", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all that was published, and the metrics."""
    files = [*folder.glob("*.parquet"), folder / "_metrics.json"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_kills_between_and_within_shards_change_nothing(tmp_path: Path) -> None:
    source = corpus(tmp_path / "in")
    assert clean(source, tmp_path / "whole").wait() == 0
    out, done = tmp_path / "killed", 0
    for wanted in (1, 6):
        run = clean(source, out)
        while (done := len(list((out / "_shards").glob("web-*.json")))) < wanted:
            assert run.poll() is None, "it ended before the kill"
            time.sleep(0.005)
        kill_tree(psutil.Process(run.pid))
        run.wait()
    assert done < SHARDS
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.parquet")}
    assert clean(source, out).wait() == 0
    assert digests(out) == digests(tmp_path / "whole")
    assert json.loads((out / "_metrics.json").read_text())["documents_in"] == 1800 * SHARDS
    kept = {p.name for p in out.glob("*.parquet") if before.get(p.name) == p.stat().st_mtime_ns}
    assert len(kept) >= done  # what was published before the last kill was not done again
