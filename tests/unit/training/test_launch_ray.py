"""Ranks started by Ray Train: same bytes, goes on after a death, no process left."""

from __future__ import annotations

import psutil
import pytest
import training_small as small

from openseek.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.ray]

RAY = {"kind": "ray"}


@pytest.fixture
def inputs(inputs_root):
    return small.open_inputs(inputs_root)


def test_a_rank_dies_and_the_stage_goes_on_to_the_bytes_of_local_ranks(
    inputs, uninterrupted, tmp_path
):
    died, lived = [], []

    def kill_rank_1_once(done, total, unit="", **info):
        if info["step"] == 9 and not died:
            ranks = small.rank_processes(tmp_path)
            ranks[1].kill()
            died.append(ranks[1])
            lived.append(ranks[0])

    metrics = small.run(
        small.step_config(), inputs, tmp_path / "out", progress=kill_rank_1_once,
        launch={**RAY, "max_failures": 1, "folder": str(tmp_path / "shared")},
    )  # fmt: skip
    assert len(died) == 1
    assert metrics["resumed_from"] in (4, 8)
    assert small.content(tmp_path / "out") == small.content(uninterrupted[0])
    _, alive = psutil.wait_procs([*died, *lived], timeout=10)
    assert not alive


def test_one_rank_gives_the_bytes_of_a_local_one(inputs, tmp_path):
    for kind in ("local", "ray"):
        small.run(small.step_config(), inputs, tmp_path / kind, world_size=1, launch={"kind": kind})
    assert small.content(tmp_path / "ray") == small.content(tmp_path / "local")


def test_a_killed_parent_leaves_no_process(inputs_root, tmp_path):
    left = small.killed(inputs_root, tmp_path / "out", 3, RAY)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive


def test_a_cancel_ends_ranks_and_ray(inputs, tmp_path):
    started = []
    before = set(small.descendants())

    def cancel(done, total, unit="", **info):
        started.extend(set(small.descendants()) - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.run(small.step_config(), inputs, tmp_path / "out", progress=cancel, launch=RAY)
    assert len(started) >= 4
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive


def test_more_ranks_than_the_cluster_has_room_for(inputs, tmp_path):
    config = small.step_config(steps=32, batch_sequences=64)
    with pytest.raises(ConfigError, match=r"64 ranks of 1 CPU each do not fit"):
        small.run(config, inputs, tmp_path / "out", world_size=64, launch=RAY)
