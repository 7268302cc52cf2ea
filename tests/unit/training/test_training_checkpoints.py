from __future__ import annotations

import hashlib
import json

import pytest
import training_small as small
from hypothesis import given
from hypothesis import strategies as st

from openseek.artifacts.folder import FolderOutput
from openseek.errors import StoreError
from openseek.training.checkpoints import CheckpointPublisher, newest, outdated, rewind


def write_checkpoint(folder, step, text="x"):
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_text(text)
    progress = {"step": step, "tokens": step, "course": "c", "world_size": 2}
    (folder / "progress.json").write_text(json.dumps(progress))
    return folder


def publish(out, tmp_path, steps, **options):
    publisher = CheckpointPublisher(out, **options)
    for step in steps:
        publisher.publish(step, write_checkpoint(tmp_path / f"checkpoint-{step}", step))
    publisher.finish()


@pytest.mark.parametrize(
    ("steps", "keep", "reach", "gone"),
    [
        ([], 2, 0, []),
        ([10], 2, 0, []),
        ([10, 20, 30], 2, 0, [10]),
        ([10, 20, 30], 1, 0, [10, 20]),
        ([200, 400, 600], 2, 128, [200]),
        ([10, 20, 30, 40], 1, 100, [30]),
        ([10, 20, 120, 130], 1, 100, [10]),
    ],
)
def test_which_checkpoints_go(steps, keep, reach, gone):
    assert outdated(steps, keep, reach) == gone


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 90), st.integers(1, 60))
def test_going_back_finds_a_checkpoint_and_few_are_kept(every, keep, reach, n):
    kept: list[int] = []
    for step in range(every, every * n + 1, every):
        kept.append(step)
        gone = outdated(kept, keep, reach)
        kept = [s for s in kept if s not in gone]
        assert len(kept) <= keep + 2
        assert (
            kept[-min(keep, step // every) :]
            == list(range(step, max(0, step - keep * every), -every))[::-1]
        )
        if step - reach >= every:
            assert step - 2 * (reach + every) <= max(s for s in kept if s <= step - reach)


def test_training_goes_on_while_a_checkpoint_is_published(tmp_path):
    import threading

    started, go_on = threading.Event(), threading.Event()

    class Slow(FolderOutput):
        def commit_checkpoint(self, step, folder, meta):
            started.set()
            assert go_on.wait(60)
            super().commit_checkpoint(step, folder, meta)

    out = Slow(tmp_path / "out")
    publisher = CheckpointPublisher(out, 2)
    publisher.publish(1, write_checkpoint(tmp_path / "c1", 1))
    assert started.wait(60)
    publisher.publish(2, write_checkpoint(tmp_path / "c2", 2))
    assert out.checkpoints() == []
    go_on.set()
    publisher.finish()
    assert out.checkpoints() == [1, 2]


def test_a_failed_publication_is_raised(tmp_path):
    class Full(FolderOutput):
        def commit_checkpoint(self, step, folder, meta):
            raise StoreError("no space left")

    publisher = CheckpointPublisher(Full(tmp_path / "out"), 2)
    publisher.publish(1, write_checkpoint(tmp_path / "c1", 1))
    with pytest.raises(StoreError, match="no space"):
        publisher.finish()


def test_going_back_discards_what_came_after(tmp_path):
    out = FolderOutput(tmp_path / "out")
    publish(out, tmp_path, [10, 20, 30], keep=3)
    rewind(out, 20)
    assert out.checkpoints() == [10, 20]
    folder = newest(out, "c")
    assert folder is not None
    assert folder.name == "20"


@pytest.mark.parametrize("damage", ["flip", "short", "missing", "record"])
def test_whatever_is_damaged_the_one_before_is_taken(tmp_path, damage):
    out = FolderOutput(tmp_path / "out")
    publish(out, tmp_path, [10, 20], keep=2)
    path = tmp_path / "out" / "_checkpoints" / "20" / "model" / "weights"
    if damage == "flip":
        path.write_text("y")
    elif damage == "short":
        path.write_text("")
    elif damage == "missing":
        path.unlink()
    else:
        (path.parents[1] / "_COMMIT.json").write_text('{"files": {"model')
    folder = newest(out, "c")
    assert folder is not None
    assert folder.name == "10"
    assert out.checkpoints() == [10]


def test_a_checkpoint_has_all_that_a_training_is_made_of(uninterrupted):
    folder = uninterrupted[0] / "_checkpoints" / "8"
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "_COMMIT.json", "metrics.jsonl", "model/config.json", "model/model.safetensors",
        "optimizer/optimizer.safetensors", "optimizer/state.json", "progress.json",
    }  # fmt: skip
    progress = json.loads((folder / "progress.json").read_text())
    assert {k: progress[k] for k in ("step", "tokens", "stage", "index", "world_size")} == {
        "step": 8, "tokens": 8 * small.BATCH * small.SEQ_LEN, "stage": "foundation", "index": 0,
        "world_size": 2,
    }  # fmt: skip
    assert {"course", "guard", "alarm", "rewinds"} <= set(progress)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["before", "half", "uncommitted"])
def test_killed_while_publishing_it_resumes_exactly(inputs_root, uninterrupted, tmp_path, point):
    out = tmp_path / "out"
    small.run_killed(inputs_root, out, die_in=point)
    assert FolderOutput(out).checkpoints() == [4]
    metrics = small.run(small.step_config(), small.open_inputs(inputs_root), out)
    assert metrics["resumed_from"] == 4
    assert small.content(out) == small.content(uninterrupted[0])


@pytest.mark.slow
@pytest.mark.parametrize("point", ["put-1", "put-3", "create"])
def test_killed_while_uploading_it_resumes_exactly(inputs_root, uninterrupted, tmp_path, point):
    small.run_killed(inputs_root, tmp_path / "out", die_in=point, store=str(tmp_path))
    inputs = small.open_inputs(inputs_root)
    metrics, digests = small.run_in_store(small.step_config(), inputs, tmp_path)
    assert metrics["resumed_from"] == 4
    expected = small.content(uninterrupted[0])
    assert digests == {n: hashlib.sha256(data).hexdigest() for n, data in expected.items()}
