"""Ranks started by torchrun: same bytes, and none outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import psutil
import pytest
import training_small as small

from openseek.errors import ConfigError, TrainingError

pytestmark = pytest.mark.slow

TORCHRUN = {"kind": "torchrun"}


@pytest.fixture
def inputs(inputs_root):
    return small.open_inputs(inputs_root)


def test_two_runs_at_once_give_the_bytes_of_local_ranks(inputs, uninterrupted, tmp_path):
    shared = {**TORCHRUN, "folder": str(tmp_path / "shared")}
    outs = [tmp_path / "a", tmp_path / "b"]
    threads = [
        threading.Thread(
            target=small.run, args=(small.step_config(), inputs, out), kwargs={"launch": shared}
        )
        for out in outs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in outs:
        assert small.content(out) == small.content(uninterrupted[0])
    assert not list((tmp_path / "shared").iterdir())


def test_one_rank_gives_the_bytes_of_a_local_one(inputs, tmp_path):
    for kind in ("local", "torchrun"):
        small.run(small.step_config(), inputs, tmp_path / kind, world_size=1, launch={"kind": kind})
    assert small.content(tmp_path / "torchrun") == small.content(tmp_path / "local")


def test_a_dead_rank_is_named_and_the_next_attempt_goes_on(inputs, uninterrupted, tmp_path):
    seen = []

    def kill_rank_1_once(done, total, unit="", **info):
        if info["step"] == 9 and not seen:
            seen.append(small.rank_processes(tmp_path))
            seen[0][1].kill()

    metrics = small.run(
        small.step_config(), inputs, tmp_path / "out", progress=kill_rank_1_once,
        launch={**TORCHRUN, "max_failures": 1},
    )  # fmt: skip
    assert metrics["resumed_from"] in (4, 8)
    assert small.content(tmp_path / "out") == small.content(uninterrupted[0])

    del seen[:]
    with pytest.raises(TrainingError, match=r"rank 1 was killed by signal 9"):
        small.run(
            small.step_config(), inputs, tmp_path / "again", progress=kill_rank_1_once,
            launch=TORCHRUN,
        )  # fmt: skip
    _, alive = psutil.wait_procs(seen[0].values(), timeout=10)
    assert not alive


def test_a_cancel_ends_the_ranks(inputs, tmp_path):
    ranks = []

    def cancel(done, total, unit="", **info):
        ranks.extend(small.rank_processes(tmp_path).values())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.run(small.step_config(), inputs, tmp_path / "out", progress=cancel, launch=TORCHRUN)
    assert len(ranks) == 2
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive


def test_a_killed_parent_leaves_no_process(inputs_root, tmp_path):
    left = small.killed(inputs_root, tmp_path / "out", 3, TORCHRUN)
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not alive


def test_ranks_started_by_hand(inputs, uninterrupted, tmp_path):
    """Stands for a node that no signal of ours reaches: the ranks are nobody's children here."""
    shared = tmp_path / "shared"
    launch = {**TORCHRUN, "folder": str(shared), "command": "wait"}
    failed: list[BaseException] = []

    def run():
        try:
            small.run(small.step_config(), inputs, tmp_path / "out", launch=launch)
        except BaseException as error:
            failed.append(error)

    parent = threading.Thread(target=run)
    parent.start()
    job = None
    while job is None and parent.is_alive():
        job = next(shared.glob("*/attempt-0/heartbeat"), None)
    assert job is not None
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "openseek.training.worker", str(job.with_name("job.json")),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parent.join()
    assert not failed
    assert small.content(tmp_path / "out") == small.content(uninterrupted[0])


@pytest.mark.parametrize(
    ("launch", "kind", "what"),
    [
        ({"command": "no-such-program {job}"}, ConfigError, "no program 'no-such-program'"),
        ({"command": "false"}, TrainingError, "ended with code 1"),
        ({"command": "sleep 1000", "wait_s": 0.5}, TrainingError, "did not start within"),
    ],
    ids=["missing", "failing", "silent"],
)
def test_a_command_that_starts_no_rank(launch, kind, what, inputs, tmp_path):
    with pytest.raises(kind, match=what):
        small.run(small.step_config(), inputs, tmp_path / "out", launch={**TORCHRUN, **launch})
