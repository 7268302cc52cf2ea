from __future__ import annotations

import engine_runs
import pytest
import ranks
import torch
from pydantic import ValidationError
from torch.optim.adamw import adamw

from openseek.config.training import OptimizerConfig, TrainConfig
from openseek.training import optimizer as optimizer_module
from openseek.training.optimizer import build_optimizer

LEAN = {"optimizer": {"moments": "bf16"}, "gradients": "bf16", "precision": "bf16"}
FILES = ("model/model.safetensors", "optimizer/optimizer.safetensors")


def run(folder, world_size, steps, paths=None, **fields):
    config = engine_runs.train_config(**fields)

    def work():
        return engine_runs.train_steps(config, steps, **(paths or {}))

    return ranks.on_ranks(world_size, folder, work)[0]


def test_moments_in_bf16_are_those_of_fp32_rounded_after_each_update(monkeypatch):
    monkeypatch.setattr(optimizer_module, "BLOCK_CPU", 7)
    torch.manual_seed(0)
    config = OptimizerConfig(moments="bf16", weight_decay=0.1)
    ours = torch.nn.Parameter(torch.randn(5, 8))
    theirs = ours.detach().clone()
    first, second = torch.zeros_like(theirs), torch.zeros_like(theirs)
    count = torch.zeros(())
    optimizer = build_optimizer([("w", ours)], config)
    optimizer.ensure_state([ours])
    optimizer.param_groups[0]["lr"] = 1e-2
    for _ in range(5):
        ours.grad = torch.randn(5, 8)
        optimizer.step()
        adamw(
            [theirs], [ours.grad], [first], [second], [], [count], fused=True, amsgrad=False,
            beta1=config.beta1, beta2=config.beta2, lr=1e-2, weight_decay=0.1, eps=config.eps,
            maximize=False,
        )  # fmt: skip
        first, second = first.bfloat16().float(), second.bfloat16().float()
    assert torch.equal(ours, theirs)
    assert optimizer.state[ours]["exp_avg_sq"].dtype == torch.bfloat16
    assert optimizer.count() == 5


def test_groups_hold_a_limited_number_of_weights_and_the_largest_come_last():
    sizes = {"a": 30, "big": 100, "b": 50, "c": 10}
    named = [(name, torch.nn.Parameter(torch.zeros(n, 1))) for name, n in sizes.items()]
    groups = build_optimizer(named, OptimizerConfig(), group_weights=60).param_groups
    assert [sum(p.numel() for p in g["params"]) for g in groups] == [40, 50, 100]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"optimizer": {"moments": "bf16", "beta2": 0.999}}, "does not go with beta2=0.999"),
        ({"gradients": "bf16"}, "does not go with precision=fp32"),
        (
            {**LEAN, "parallel": {"pipeline": 2}},
            r"gradients=bf16 does not go with parallel\.pipeline=2",
        ),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_its_reason(fields, reason):
    with pytest.raises(ValidationError, match=reason):
        TrainConfig.model_validate(fields)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_one_micro_batch_on_one_rank_loses_nothing_by_gradients_in_bf16(tmp_path, zero_stage):
    once = {"batch_sequences": 4, "micro_batch": 4, "precision": "bf16", "zero_stage": zero_stage}
    whole = run(tmp_path / "whole", 1, range(5), **once)
    lean = run(tmp_path / "lean", 1, range(5), **once, gradients="bf16")
    assert lean["loss"] == whole["loss"]
    assert lean["norm"] == pytest.approx(whole["norm"], rel=1e-6)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return run(tmp_path_factory.mktemp("exact"), 1, range(12), precision="bf16")


@pytest.mark.parametrize(
    "zero_stage",
    [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)],
)
def test_every_zero_stage_learns_with_little_memory(tmp_path, exact, zero_stage):
    lean = run(tmp_path, 1, range(12), **LEAN, zero_stage=zero_stage)
    assert lean["norm"][0] == pytest.approx(exact["norm"][0], rel=0.01)
    assert lean["loss"] == pytest.approx(exact["loss"], abs=0.05)
    assert lean["loss"][-1] < lean["loss"][0] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(
    "fields",
    [{"zero_stage": 1}, {"zero_stage": 2}, {"zero_stage": 3}],
    ids=str,
)
def test_resume_is_bit_equal(tmp_path, world_size, fields):
    whole = run(tmp_path, world_size, range(6), {"end": tmp_path / "whole"}, **LEAN, **fields)
    run(tmp_path, world_size, range(4), {"end": tmp_path / "half"}, **LEAN, **fields)
    paths = {"start": tmp_path / "half", "end": tmp_path / "part"}
    part = run(tmp_path, world_size, range(4, 6), paths, **LEAN, **fields)
    assert part["loss"] == whole["loss"][4:]
    for file in FILES:
        one, two = ((tmp_path / name / file).read_bytes() for name in ("whole", "part"))
        assert one == two


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"parallel": {"expert_parallel": 2}}, {"optimizer": {"kind": "muon", "moments": "bf16"}}],
    ids=str,
)
def test_experts_on_ranks_and_muon_go_with_it(tmp_path, fields):
    exact = {k: v for k, v in fields.items() if k != "optimizer"} | {"precision": "bf16"}
    if "optimizer" in fields:
        exact["optimizer"] = {"kind": "muon"}
    whole = run(tmp_path / "exact", 2, range(15), **exact)
    lean = run(tmp_path / "lean", 2, range(15), **{**LEAN, **fields})
    assert lean["loss"] == pytest.approx(whole["loss"], abs=0.1)
