"""Choosing and explaining, without a rank; the launchers themselves are in test_launch_*.py."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from openseek.config.runtime import LaunchConfig, RuntimeConfig
from openseek.errors import ConfigError, TrainingError
from openseek.training import channel, failures, peers, worker
from openseek.training.bootstrap import cluster_environment
from openseek.training.ray_rank import interface_of
from openseek.training.ray_train import check_room, rank_resources, room
from openseek.training.torchrun import command_of, root_cause

TORCHRUN = """
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 10)
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : node-a
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 11)
"""
FACTS = {"host": "a", "openseek": "1", "code": "c0ffee", "torch": "2.13.0", "deepspeed": "0.19"}


def runtime(**launch):
    return RuntimeConfig.model_validate({"launch": launch})


def test_how_ranks_start_is_no_part_of_a_result():
    assert runtime(kind="ray", folder="/shared").identity() == RuntimeConfig().identity()


def test_a_rank_reserves_what_the_cluster_has():
    cpu, gpu = {"CPU": 8.0, "memory": 1e9}, {"CPU": 16.0, "GPU": 8.0}
    assert rank_resources(runtime(), [cpu]) == {"CPU": 1.0}
    assert rank_resources(runtime(), [cpu, gpu]) == {"CPU": 1.0, "GPU": 1.0}
    npu = rank_resources(runtime(cpus_per_rank=4, resources_per_rank={"rack": 1}), [{"NPU": 8.0}])
    assert npu == {"CPU": 4.0, "NPU": 1.0, "rack": 1.0}


def test_room_counts_whole_ranks_of_each_node():
    nodes = [{"CPU": 3.0}, {"CPU": 5.0}]
    assert room(nodes, {"CPU": 2.0}) == 3
    check_room(nodes, {"CPU": 2.0}, 3)
    with pytest.raises(ConfigError, match=r"4 ranks of 2 CPU each .* 3 CPU; 5 CPU, room for 3"):
        check_room(nodes, {"CPU": 2.0}, 4)
    with pytest.raises(ConfigError, match="0 GPU"):
        check_room(nodes, {"CPU": 1.0, "GPU": 1.0}, 1)


def test_a_command_gets_the_job_and_the_number_of_ranks():
    own = LaunchConfig(command="srun -n {world_size} python -m openseek.training.worker '{job}'")
    assert command_of(own, "/a b/job.json", 16)[:3] == ["srun", "-n", "16"]
    assert command_of(own, "/a b/job.json", 16)[-1] == "/a b/job.json"
    plain = command_of(LaunchConfig(), "/job.json", 2)
    assert plain[0] == sys.executable
    assert plain[-1] == "/job.json"
    assert command_of(LaunchConfig(command="wait"), "/job.json", 2) == plain
    with pytest.raises(ConfigError, match="can be filled in"):
        command_of(LaunchConfig(command="srun {nodes}"), "/job.json", 2)


def test_torchrun_names_the_rank_that_failed_first():
    assert root_cause(TORCHRUN) == [{"rank": 1, "code": -9}]
    assert root_cause("no such word") == []


def test_the_rank_that_was_killed_is_the_cause_and_not_the_one_it_took_along(tmp_path):
    failures.write_error(tmp_path, 0, RuntimeError("Connection closed by peer"))
    (tmp_path / "rank1.log").write_text("its last words\n")
    error = failures.explain(tmp_path, [{"rank": 0, "code": 1}, {"rank": 1, "code": -9}])
    assert isinstance(error, failures.RankError)
    assert "rank 1 was killed by signal 9" in str(error)
    assert "its last words" in str(error)


def test_a_rank_that_left_no_error_is_the_cause(tmp_path):
    failures.write_error(tmp_path, 0, RuntimeError("Connection closed by peer"))
    ends = [{"rank": 0, "code": 1}, {"rank": 1, "code": None, "how": "died: node lost"}]
    assert "rank 1 died: node lost" in str(failures.explain(tmp_path, ends))


def test_an_error_raised_on_purpose_keeps_its_kind(tmp_path):
    failures.write_error(tmp_path, 0, RuntimeError("Connection closed by peer"))
    failures.write_error(tmp_path, 1, ConfigError("wrong", where="there", mend="Mend it."))
    error = failures.explain(tmp_path, [{"rank": 0, "code": 1}, {"rank": 1, "code": 1}])
    assert type(error) is ConfigError
    assert str(error) == "there: wrong. Mend it."


@pytest.mark.parametrize("name", ["code", "torch", "openseek"])
def test_ranks_of_different_versions_are_refused(name):
    peers.compare([FACTS, {**FACTS, "host": "b"}])
    with pytest.raises(TrainingError, match=rf"{name} is .* on rank 0 \(a\) and 9 on rank 1 \(b\)"):
        peers.compare([FACTS, {**FACTS, "host": "b", name: "9"}])


def test_facts_know_this_code():
    found = peers.facts()
    assert found["torch"].startswith("2.")
    assert len(found["code"]) == 12


def test_a_rank_without_a_launcher_says_what_is_missing(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"lacks RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR.*srun"):
        cluster_environment()
    for name, value in (("PROCID", "5"), ("LOCALID", "1"), ("NTASKS", "8")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(ConfigError, match=r"lacks MASTER_ADDR, MASTER_PORT\."):
        cluster_environment()
    monkeypatch.setenv("MASTER_ADDR", "node-a")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert cluster_environment() == {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}


def test_a_node_that_does_not_see_the_job_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "FOLDER_S", 0.0)
    with pytest.raises(TrainingError, match=r"does not see the job.*runtime\.launch\.folder"):
        worker.find_job(tmp_path / "job.json")


def test_events_are_read_once_and_whole(tmp_path):
    tail = channel.Tail(tmp_path)
    assert tail.lines() == []
    channel.sender(tmp_path)(channel.event("start", step=3))
    with (tmp_path / channel.EVENTS).open("a") as f:
        f.write('{"event": "pro')
        f.flush()
        assert [json.loads(line) for line in tail.lines()] == [{"event": "start", "step": 3}]
        f.write('gress"}\n')
    assert tail.lines() == ['{"event": "progress"}']


WATCHED = """
import sys, threading, pathlib
from openseek.training import channel
channel.BEAT_S = 0.05
channel.end_with_parent(pathlib.Path(sys.argv[1]), 0.5)
threading.Event().wait()
"""


@pytest.mark.parametrize("how", ["stopped", "no sign of life"])
def test_a_rank_elsewhere_ends_with_the_job(tmp_path, how, monkeypatch):
    monkeypatch.setattr(channel, "BEAT_S", 0.05)
    heartbeat = channel.Heartbeat(tmp_path)
    command = [sys.executable, "-c", WATCHED, str(tmp_path)]
    rank = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if how == "stopped":
        heartbeat.stop()
    else:
        heartbeat._done.set()
    _, said = rank.communicate(timeout=30)
    heartbeat._done.set()
    assert rank.returncode == 3
    assert how in said


def test_the_interface_of_an_address():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.9") == ""


def test_a_killed_spawner_is_not_waited_for(tmp_path):
    from openseek.training.launch import Spawner

    spawner = Spawner(RuntimeConfig())
    spawner._process.send_signal(signal.SIGKILL)
    with pytest.raises(TrainingError, match="the process that starts the ranks ended"):
        spawner.start()
    spawner.kill()
