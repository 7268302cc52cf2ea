"""Kill -9 of the whole process tree at random moments: the same result, nothing lost.

The moments are drawn from the time in which a run works, with a seed that is printed; each start
gets a share of it, so that the kills are spread over all steps.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from openseek.artifacts import Store
from openseek.artifacts.manifest import Manifest
from tests.runs import Bench, digests

pytestmark = [pytest.mark.slow, pytest.mark.flow, pytest.mark.ray]

KILLS = 10


def kill_tree(process: psutil.Process) -> None:
    """SIGKILL a process and all its descendants, as a power cut would."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=30)


def loss_lines(bench: Bench) -> dict[str, str]:
    """Read metrics.jsonl of each stage: loss by loss."""
    store = Store(bench.store, bench.home / "scratch")
    lines = {}
    for stage in ("foundation", "specialization", "integration"):
        ref = store.read_ref("tiny", f"train-{stage}")
        assert ref is not None
        path = f"steps/{ref['step']}/{ref['key']}/_MANIFEST.json"
        files = store.files(Manifest.from_json(store.backend.read(path)[0], path))
        lines[stage] = files.local("metrics.jsonl").read_text()
    return lines


def wait_until_working(bench: Bench, pid: int, before: float) -> None:
    """Wait until the run has written its record anew, which it does when the steps begin."""
    record = Path(bench.store) / "refs" / "tiny" / "_run.json"
    while psutil.pid_exists(pid):
        if record.exists() and record.stat().st_mtime > before:
            return
        time.sleep(0.05)


def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    whole = Bench.make(tmp_path / "whole")
    expected = whole.run()
    work_s = sum(s["seconds"] for s in expected["steps"])
    seed = int(os.environ.get("OPENSEEK_KILL_SEED", "0")) or random.randrange(10**6)
    print(f"OPENSEEK_KILL_SEED={seed} work_s={work_s:.1f}")
    moments = random.Random(seed)

    killed = Bench.make(tmp_path / "killed")
    landed = []
    for _ in range(KILLS):
        before = time.time()
        run = killed.start()
        process = psutil.Process(run.pid)
        wait_until_working(killed, run.pid, before)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(moments.uniform(0.1, work_s / 6))
        if run.poll() is None:
            kill_tree(process)
            landed.append(time.time() - before)
        run.wait()
    assert len(landed) == KILLS, "the run finished before the last kill: draw shorter moments"

    resumed = killed.run()
    assert digests(resumed) == digests(expected)
    assert loss_lines(killed) == loss_lines(whole)
    assert resumed["bpb"] == expected["bpb"]
    assert orphans(killed) == []


def orphans(bench: Bench) -> list[dict[str, Any]]:
    """What the killed attempts left is found by gc and nothing else: all stays readable."""
    store = Store(bench.store, bench.home / "scratch")
    from openseek.artifacts.gc import collect

    collect(store, older_than_s=0)
    damaged = []
    for manifest in store.manifests():
        files = store.files(manifest)
        for record in manifest.files:
            try:
                files.local(record.name)
            except Exception as error:
                damaged.append({"step": manifest.step, "error": json.dumps(str(error))})
    return damaged
