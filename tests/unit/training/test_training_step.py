from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
import training_small as small
from safetensors.numpy import load_file

from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.model import ExportConfig
from openseek.errors import ConfigError, TrainingError
from openseek.model import export_folder


@pytest.fixture(scope="module")
def killed(inputs_root, tmp_path_factory):
    """The output folder of a run whose process was killed after step 9 of 12; no rank is left."""
    out = tmp_path_factory.mktemp("killed") / "out"
    left = small.killed(inputs_root, out, 9, {})
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive
    return out


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_it_learns_and_reports(uninterrupted):
    out, metrics = uninterrupted
    assert metrics["loss_last"] < metrics["loss_first"] - 0.5
    assert metrics["steps"] == small.STEPS
    assert metrics["tokens"] == small.STEPS * small.BATCH * small.SEQ_LEN
    assert metrics["world_size"] == 2
    assert metrics["curve"][-1]["step"] == small.STEPS - 1
    assert set(metrics["by_category_tail"]) == {"foundation", "math"}
    assert all(load >= 1 for load in metrics["expert_load_tail"].values())
    assert metrics["mfu"] * metrics["peak_flops"] == pytest.approx(metrics["flops_per_s"])
    assert [p["step"] for p in metrics["speed_curve"]] == list(range(small.STEPS))
    assert all(p["memory_bytes"] > 0 for p in metrics["speed_curve"])
    lines = small.lines(out)
    assert {layer for r in lines for layer in r["router_bias"]} == set(lines[0]["expert_load"])
    assert all(low <= high for r in lines for low, high in r["router_bias"].values())
    assert not {"tokens_per_s", "mfu", "memory_bytes"} & {key for r in lines for key in r}
    assert set(small.content(out)) == {
        "metrics.jsonl",
        "model/config.json",
        "model/model.safetensors",
        "optimizer/optimizer.safetensors",
        "optimizer/state.json",
    }


def test_killed_and_resumed_equals_uninterrupted(killed, inputs_root, uninterrupted, tmp_path):
    out = copied(killed, tmp_path / "out")
    assert not (out / "metrics.jsonl").exists()
    metrics = small.run(small.step_config(), small.open_inputs(inputs_root), out)
    assert metrics["resumed_from"] in (4, 8)
    assert small.content(out) == small.content(uninterrupted[0])
    assert metrics["curve"] == uninterrupted[1]["curve"]


def test_a_damaged_newest_checkpoint_falls_back(inputs_root, uninterrupted, tmp_path):
    out = tmp_path / "out"
    copied(uninterrupted[0] / "_checkpoints", out / "_checkpoints")
    assert FolderOutput(out).checkpoints() == [4, 8]
    path = out / "_checkpoints" / "8" / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)
    metrics = small.run(small.step_config(), small.open_inputs(inputs_root), out)
    assert metrics["resumed_from"] == 4
    assert small.content(out) == small.content(uninterrupted[0])


def test_another_number_of_ranks_is_equal_within_rounding(inputs_root, uninterrupted, tmp_path):
    small.run(small.step_config(), small.open_inputs(inputs_root), tmp_path / "out", world_size=1)
    one = [line["loss"] for line in small.lines(tmp_path / "out")]
    two = [line["loss"] for line in small.lines(uninterrupted[0])]
    assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields", [{"zero_stage": 2}, {"zero_stage": 3}, {"precision": "bf16"}], ids=str
)
def test_other_engines_agree_and_resume_exactly(inputs_root, uninterrupted, tmp_path, fields):
    config, inputs = small.step_config(**fields), small.open_inputs(inputs_root)
    whole, part = tmp_path / "whole", tmp_path / "part"
    small.run(config, inputs, whole)
    close = 2e-2 if "precision" in fields else 1e-5
    base, other = small.lines(uninterrupted[0]), small.lines(whole)
    for key in ("loss", "grad_norm"):
        assert [r[key] for r in other] == pytest.approx([r[key] for r in base], abs=close)
    copied(whole / "_checkpoints", part / "_checkpoints")
    assert small.run(config, inputs, part)["resumed_from"] == 8
    assert small.content(part) == small.content(whole)


def test_the_next_stage_takes_over_weights_moments_and_biases(inputs_root, uninterrupted, tmp_path):
    inputs = {**small.open_inputs(inputs_root), "previous": FolderFiles(uninterrupted[0])}
    config = small.step_config(stage="specialization", steps=1)
    metrics = small.run(config, inputs, tmp_path / "next")
    assert metrics["loss_first"] < uninterrupted[1]["loss_first"] - 0.5
    assert metrics["updates"] == small.STEPS + 1

    def biases(folder):
        weights = load_file(folder / "model" / "model.safetensors")
        return np.stack([w for n, w in sorted(weights.items()) if n.endswith("correction_bias")])

    before, after = biases(uninterrupted[0]), biases(tmp_path / "next")
    assert np.abs(before).max() > 0
    assert np.abs(after - before).max() == pytest.approx(1e-3, rel=1e-3)


def test_a_stage_starts_from_an_imported_model(inputs_root, uninterrupted, tmp_path):
    hf = tmp_path / "hf"
    export = ExportConfig(dtype="stored", max_shard_bytes=20_000)
    export_folder(str(uninterrupted[0] / "model"), None, str(hf), export)
    assert len(list(hf.glob("*.safetensors"))) > 3
    config, found = small.step_config(stage="specialization", steps=1), {}
    for previous in (uninterrupted[0], hf):
        inputs = {**small.open_inputs(inputs_root), "previous": FolderFiles(previous)}
        found[previous] = small.run(config, inputs, tmp_path / f"from-{previous.name}")
    assert found[hf]["loss_first"] == found[uninterrupted[0]]["loss_first"]
    assert found[hf]["updates"] == 1


def test_a_batch_that_gives_nan_is_skipped_and_named(uninterrupted, tmp_path):
    rare = small.VOCAB - 1
    inputs = small.write_inputs(tmp_path / "data", rare=rare)
    previous = small.poisoned(uninterrupted[0], tmp_path / "previous", rare)
    metrics = small.run(small.step_config(), {**inputs, "previous": previous}, tmp_path / "out")
    skipped = [r for r in small.lines(tmp_path / "out") if r["skipped"]]
    assert len(skipped) == len(metrics["skipped"]) == 1
    assert skipped[0]["skipped"] == "loss is not finite"
    assert skipped[0]["loss"] is None
    assert "math-0" in skipped[0]["documents"]
    assert metrics["updates"] == 2 * small.STEPS - 1
    assert np.isfinite(metrics["loss_last"])


def test_too_many_skips_stop_the_stage_and_name_documents(inputs_root, uninterrupted, tmp_path):
    previous = small.poisoned(uninterrupted[0], tmp_path / "previous", 5)
    inputs = {**small.open_inputs(inputs_root), "previous": previous}
    config = small.step_config(guard={"max_skips": 1})
    with pytest.raises(TrainingError, match=r"loss is not finite at step .*(math|foundation)-\d+"):
        small.run(config, inputs, tmp_path / "out")


def test_a_dead_rank_ends_the_step_with_its_log(inputs_root, tmp_path):
    def kill_a_rank(done, total, unit="", **info):
        if info["step"] == 3:
            for spawner in psutil.Process().children():
                if "openseek.training.spawner" in " ".join(spawner.cmdline()):
                    spawner.children()[-1].kill()

    with pytest.raises(TrainingError, match=r"rank \d (was killed by signal 9|ended)"):
        small.run(
            small.step_config(), small.open_inputs(inputs_root), tmp_path / "out",
            progress=kill_a_rank,
        )  # fmt: skip
    assert not [
        p for p in psutil.Process().children(recursive=True) if "spawner" in " ".join(p.cmdline())
    ]


def test_a_cancel_ends_the_ranks(inputs_root, tmp_path):
    before = set(psutil.Process().children(recursive=True))
    seen = []

    def cancel(done, total, unit="", **info):
        seen.extend(set(psutil.Process().children(recursive=True)) - before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.run(
            small.step_config(), small.open_inputs(inputs_root), tmp_path / "out", progress=cancel
        )
    _, alive = psutil.wait_procs(seen, timeout=5)
    assert len(seen) >= 3
    assert not alive


def test_checkpoints_of_another_configuration_are_refused(killed, inputs_root, tmp_path):
    out = copied(killed, tmp_path / "out")
    with pytest.raises(ConfigError, match="another configuration"):
        small.run(small.step_config(grad_clip=0.5), small.open_inputs(inputs_root), out)


def test_ranks_that_do_not_divide_the_batch_are_refused(inputs_root, tmp_path):
    with pytest.raises(ConfigError, match="cannot be shared by 3 ranks"):
        small.run(small.step_config(), small.open_inputs(inputs_root), tmp_path / "o", world_size=3)
