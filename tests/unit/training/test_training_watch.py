from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
import training_faults as faults

from openseek.config.monitoring import MonitorConfig
from openseek.training.failures import error_file
from openseek.training.job import read_progress
from openseek.training.replicas import checksum
from openseek.training.watchdog import Watchdog


@pytest.fixture(scope="module")
def ran(inputs_root, tmp_path_factory):
    """A folder for each scenario of `training_faults`."""
    root = tmp_path_factory.mktemp("faults")
    subprocess.run(
        [sys.executable, faults.__file__, str(root), str(inputs_root), *faults.SCENARIOS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=(root / "log").open("w"),
        timeout=240,
        check=True,
    )
    return root


def outcome(folder):
    errors = [json.loads(p.read_text()) for r in range(2) if (p := error_file(folder, r)).is_file()]
    return json.loads((folder / "codes.json").read_text()), errors


@pytest.mark.slow
def test_equal_replicas_pass(ran):
    assert outcome(ran / "healthy") == ([0, 0], [])
    lines = (ran / "healthy" / "result" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "tensor"),
    [
        ("weight", "model.layers.0.self_attn.kv_b_proj.weight"),
        ("bias", "model.layers.1.mlp.gate.e_score_correction_bias"),
    ],
)
def test_a_flipped_bit_stops_all_ranks_and_is_named(ran, scenario, tensor):
    codes, errors = outcome(ran / scenario)
    assert codes == [1, 1]
    for error in errors:
        assert error["kind"] == "TrainingError"
        assert error["what"] == f"rank 1 holds another {tensor!r} than rank 0 at step 3"


@pytest.mark.slow
def test_a_hang_shows_all_stacks_and_ends_in_an_error_that_is_retried(ran):
    folder = ran / "hang"
    codes, errors = outcome(folder)
    assert codes[1] == 1
    assert codes[0] != 0
    assert {e["kind"] for e in errors if "step 3 did not end" in e["what"]} == {"TransientError"}
    assert "in hang_here" in (folder / "rank1.stacks.txt").read_text()
    assert "in reduce" in (folder / "rank0.stacks.txt").read_text()
    events = [json.loads(line) for line in (folder / "rank0.events").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "stall"] == [3]


@pytest.mark.slow
def test_a_checkpoint_that_was_not_written_to_its_end_is_never_handed_over(ran):
    folder = ran / "write"
    codes, _ = outcome(folder)
    assert codes[0] == -signal.SIGKILL
    events = [json.loads(line) for line in (folder / "rank0.events").read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "checkpoint"] == [2]
    assert not (folder / "checkpoint-4").exists()
    assert read_progress(folder / "checkpoint-2")["step"] == 2


def test_the_limit_follows_the_median_and_has_a_floor(tmp_path):
    config = MonitorConfig(stall_factor=10, stall_floor_s=5)
    dog = Watchdog(
        config, tmp_path / "s", where="", on_stall=lambda *_: None, on_failure=lambda _: None
    )
    assert dog.limit_s([]) == 5
    assert dog.limit_s([0.1, 0.2, 90.0]) == 5
    assert dog.limit_s([1.0, 2.0, 90.0]) == 20


def test_a_stall_is_reported_once_and_a_beat_ends_it(tmp_path):
    config = MonitorConfig(stall_factor=1e-9, stall_floor_s=0.02, stall_patience=1e9)
    stalls, seen = [], threading.Event()

    def on_stall(step, seconds):
        stalls.append(step)
        seen.set()

    path = tmp_path / "stacks.txt"
    with Watchdog(
        config, path, where="rank 0", on_stall=on_stall, on_failure=lambda _: None
    ) as dog:
        for step in (1, 2):
            dog.beat(step)
            assert seen.wait(60)
            seen.clear()
    assert [s for s in stalls if s > 0] == [1, 2]
    assert "test_a_stall_is_reported_once" in path.read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64], ids=str)
def test_a_checksum_sees_any_flip_and_exchange(dtype):
    x = torch.arange(1, 65).to(dtype)
    base = checksum(x).tolist()
    assert checksum(x.clone()).tolist() == base
    words = {4: torch.int32, 2: torch.int16, 8: torch.int64}[x.element_size()]
    for bit in range(8 * x.element_size() - 1):
        other = x.clone()
        other.view(words)[17] ^= 1 << bit
        assert checksum(other).tolist() != base
    swapped = x.clone()
    swapped[3], swapped[9] = x[9], x[3]
    assert checksum(swapped).tolist() != base
