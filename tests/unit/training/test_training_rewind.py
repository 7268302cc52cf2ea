from __future__ import annotations

import shutil

import numpy as np
import pytest
import training_small as small

from openseek.errors import TrainingError
from openseek.training.job import read_progress

RARE = small.VOCAB - 1
BAD = (5, 7)
GUARD = {"max_skips": 1, "window": 8}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bad_inputs(uninterrupted, tmp_path_factory):
    """Inputs in which the batches of steps 5 and 7 give NaN, and nothing else does."""
    root = tmp_path_factory.mktemp("bad")
    small.write_inputs(root / "data")
    small.put_rare_token(root / "data", BAD, RARE)
    small.poisoned(uninterrupted[0], root / "previous", RARE)
    return root


def run(root, out, **fields):
    inputs = dict(small.open_inputs(root / "data"))
    inputs["previous"] = small.FolderFiles(root / "previous")
    return small.run(small.step_config(**{"guard": GUARD, **fields}), inputs, out)


@pytest.fixture(scope="module")
def rewound(bad_inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("rewound") / "out"
    return out, run(bad_inputs, out)


def test_it_goes_back_and_leaves_out_the_bad_data(rewound):
    out, metrics = rewound
    lines = small.lines(out)
    assert [r["step"] for r in lines] == list(range(small.STEPS))
    left_out = [r for r in lines if "rewind" in r]
    assert [(r["step"], r["skipped"]) for r in left_out] == [
        (5, "loss is not finite"), (6, "near a skipped step"), (7, "loss is not finite"),
    ]  # fmt: skip
    assert all(r["loss"] is None and r["documents"] for r in left_out)
    assert metrics["rewinds"] == [{"rewind": 1, "first": 5, "last": 7}]
    assert [r["step"] for r in metrics["skipped"]] == [5, 6, 7]
    assert all(r["documents"] and r["n_documents"] for r in metrics["skipped"])
    assert metrics["updates"] == 2 * small.STEPS - 3
    assert metrics["resumed_from"] == 4
    assert np.isfinite(metrics["loss_last"])
    progress = read_progress(out / "_checkpoints" / "8")
    assert progress["rewinds"] == [
        {"first": 5, "last": 7, "reasons": {"5": "loss is not finite", "7": "loss is not finite"}}
    ]


@pytest.mark.parametrize("every", [0, 3])
def test_the_result_does_not_depend_on_the_checkpoints(bad_inputs, rewound, tmp_path, every):
    metrics = run(bad_inputs, tmp_path / "out", checkpoint={"every_steps": every, "keep": 1})
    assert metrics["resumed_from"] == every
    assert small.content(tmp_path / "out") == small.content(rewound[0])


# Events: steps 0 to 7; then 4 again; 8, 9, ... The checkpoint of step 8 comes after the rewind.
@pytest.mark.parametrize(("die_at", "resumed"), [(9, 4), (12, 8)])
def test_killed_on_the_way_and_resumed_it_is_the_same(
    bad_inputs, rewound, tmp_path, die_at, resumed
):
    out = tmp_path / "out"
    small.run_killed(
        bad_inputs / "data", out, previous=bad_inputs / "previous", guard=GUARD, die_at=die_at
    )
    metrics = run(bad_inputs, out)
    assert metrics["resumed_from"] in (4, resumed)
    assert small.content(out) == small.content(rewound[0])


def test_every_checkpoint_after_a_rewind_continues_it(bad_inputs, rewound, tmp_path):
    shutil.copytree(rewound[0] / "_checkpoints", tmp_path / "out" / "_checkpoints")
    shutil.rmtree(tmp_path / "out" / "_checkpoints" / "4", ignore_errors=True)
    assert run(bad_inputs, tmp_path / "out")["resumed_from"] == 8
    assert small.content(tmp_path / "out") == small.content(rewound[0])


def test_skips_that_are_borne_need_no_rewind(bad_inputs, tmp_path):
    metrics = run(bad_inputs, tmp_path / "out", guard={"max_skips": 2, "window": 8})
    assert metrics["rewinds"] == []
    assert [r["step"] for r in metrics["skipped"]] == list(BAD)


def test_without_rewinds_left_it_stops_and_names_documents(bad_inputs, tmp_path):
    with pytest.raises(TrainingError, match=r"at step 7, .* after 0 rewinds; .*(math|found)\w*-\d"):
        run(bad_inputs, tmp_path / "out", guard={**GUARD, "max_rewinds": 0})


def test_a_second_rewind_leaves_out_both(bad_inputs, tmp_path):
    metrics = run(bad_inputs, tmp_path / "out", guard={"max_skips": 0, "window": 8})
    assert metrics["rewinds"] == [
        {"rewind": 1, "first": 5, "last": 5}, {"rewind": 2, "first": 7, "last": 7},
    ]  # fmt: skip
    assert [r["step"] for r in metrics["skipped"]] == list(BAD)
