from __future__ import annotations

import threading
from functools import partial

import pytest
import torch
import training_small as small
from safetensors.torch import load_file

from openseek.config.model import ModelConfig
from openseek.errors import TransientError
from openseek.training.job import read_progress
from openseek.training.state import Snapshot, write_snapshot
from openseek.training.writer import Checkpoint, CheckpointWriter

MODEL = ModelConfig.model_validate(small.MODEL)


def checkpoint(root, step, lines=b"a\n"):
    (root / "metrics.jsonl").write_bytes(lines)
    weights = {"w": torch.full((3,), float(step))}
    snapshot = Snapshot(weights, {"exp_avg.w": torch.ones(3)}, updates=step)
    return Checkpoint(
        folder=root / f"checkpoint-{step}",
        state=partial(write_snapshot, snapshot, MODEL),
        progress={"step": step},
        metrics=root / "metrics.jsonl",
        metrics_bytes=len(lines),
    )


def test_the_loop_goes_on_while_a_checkpoint_is_written_and_the_next_one_waits(tmp_path):
    go_on, written = threading.Event(), []

    def slow(step, folder):
        assert go_on.wait(60)
        written.append(step)

    with CheckpointWriter(slow) as writer:
        writer.submit(checkpoint(tmp_path, 1))
        assert written == []
        (tmp_path / "metrics.jsonl").open("ab").write(b"of a later step\n")
        writer.check()
        release = threading.Thread(target=go_on.set)
        release.start()
        writer.submit(checkpoint(tmp_path, 2))
        assert written[0] == 1
        release.join()
    assert written == [1, 2]
    folder = tmp_path / "checkpoint-1"
    assert read_progress(folder) == {"step": 1}
    assert (folder / "metrics.jsonl").read_bytes() == b"a\n"
    assert load_file(folder / "model" / "model.safetensors")["w"].tolist() == [1.0] * 3


def test_a_checkpoint_appears_whole(tmp_path):
    seen = []

    def look(step, folder):
        seen.append(sorted(p.name for p in folder.parent.iterdir()))

    with CheckpointWriter(look, asynchronous=False) as writer:
        writer.submit(checkpoint(tmp_path, 1))
        assert seen == [["checkpoint-1", "metrics.jsonl"]]


def loop(written, given, *, asynchronous=True, error=None):
    """Hand over a checkpoint; then stop with an error, or go on until the writer has one."""
    with CheckpointWriter(lambda *args: written.append(args), asynchronous=asynchronous) as w:
        w.submit(given)
        if error:
            raise error
        while True:
            w.check()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_write_that_fails_stops_the_loop_and_says_where(tmp_path, asynchronous):
    lost, written = checkpoint(tmp_path, 7), []
    lost.metrics.unlink()
    with pytest.raises(TransientError, match=r"checkpoint after step 7 cannot be written: .*such"):
        loop(written, lost, asynchronous=asynchronous)
    assert written == []
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_loop_is_not_hidden_and_what_is_in_flight_is_finished(tmp_path):
    written = []
    with pytest.raises(ValueError, match="of the loop"):
        loop(written, checkpoint(tmp_path, 1), error=ValueError("of the loop"))
    assert written == [(1, tmp_path / "checkpoint-1")]


def test_it_changes_no_byte_and_no_key(inputs_root, uninterrupted, tmp_path):
    config = small.step_config(
        checkpoint={"every_steps": 4, "keep": 2, "asynchronous": False}
    )  # fmt: skip
    assert config.identity() == small.step_config().identity()
    small.run(config, small.open_inputs(inputs_root), tmp_path / "out")
    assert small.content(tmp_path / "out") == small.content(uninterrupted[0])
    for step in (4, 8):
        one, other = (
            files(out / "_checkpoints" / str(step)) for out in (tmp_path / "out", uninterrupted[0])
        )
        assert one == other


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
