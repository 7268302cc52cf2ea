"""Kill -9 of the whole process tree at random moments: the same result, nothing lost.

Kill k falls a random time after k tenths of the steps are done, so that the kills are spread over
all of them; the seed of the times is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from openseek.artifacts import Store
from tests.runs import Bench, Finished, digests, loss_lines

pytestmark = [pytest.mark.slow, pytest.mark.flow, pytest.mark.ray]

KILLS = 10


def kill_tree(process: psutil.Process) -> None:
    """SIGKILL a process and all its descendants, as a power cut would."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=30)


def n_done(bench: Bench) -> int:
    """Count the steps that are committed."""
    return len(list(Path(bench.store).glob("steps/*/*/_MANIFEST.json")))


def is_working(bench: Bench, before: float) -> bool:
    """Tell whether the run has written its record anew, which it does when the steps begin."""
    record = Path(bench.store) / "refs" / "tiny" / "_run.json"
    return record.exists() and record.stat().st_mtime > before


def test_ten_kills_change_nothing(tmp_path: Path, finished_run: Finished) -> None:
    expected = finished_run.summary
    n_steps = len(expected["steps"])
    mean_s = sum(s["seconds"] for s in expected["steps"]) / n_steps
    seed = int(os.environ.get("OPENSEEK_KILL_SEED", "0")) or random.randrange(10**6)
    print(f"OPENSEEK_KILL_SEED={seed} n_steps={n_steps} mean_s={mean_s:.1f}")
    moments = random.Random(seed)

    killed = Bench.make(tmp_path / "killed")
    landed = []
    for kill in range(KILLS):
        before = time.time()
        run = killed.start()
        while run.poll() is None and kill:  # the first one falls into the start-up
            if is_working(killed, before) and n_done(killed) >= kill * n_steps // KILLS:
                break
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(moments.uniform(0.1, mean_s / 2))
        if run.poll() is None:
            kill_tree(psutil.Process(run.pid))
            landed.append(n_done(killed))
        run.wait()
    print(f"steps done at each kill: {landed}")
    assert len(landed) == KILLS, "the run finished before the last kill: draw shorter moments"

    resumed = killed.run()
    assert digests(resumed) == digests(expected)
    assert loss_lines(killed) == finished_run.losses
    assert resumed["bpb"] == expected["bpb"]
    assert orphans(killed) == []


def orphans(bench: Bench) -> list[dict[str, Any]]:
    """What the killed attempts left is found by gc and nothing else: all stays readable."""
    store = Store(bench.store, bench.home / "scratch")
    from openseek.artifacts.gc import collect

    collect(store, older_than_s=0)
    damaged = []
    for manifest in store.manifests(lambda *bad: damaged.append({"step": bad[0], "error": bad[1]})):
        files = store.files(manifest)
        for record in manifest.files:
            try:
                files.local(record.name)
            except Exception as error:
                damaged.append({"step": manifest.step, "error": json.dumps(str(error))})
    return damaged
