from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import engine_runs
import pytest
import ranks
import torch
import training_small as small
from safetensors.torch import load_file

from openseek.config.model import ModelConfig
from openseek.errors import ConfigError
from openseek.model.moe import MoE
from openseek.training.expert_parallel import ExpertGroup, ParallelExperts

STEPS = 20
SHARED = {"expert_parallel": 2}
CLIP = 0.5  # below the first gradient norms, so that every step is clipped


def train(
    folder: Path, world_size: int, steps: range, paths: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """Train on several ranks and return what rank 0 saw."""
    config = engine_runs.train_config(grad_clip=CLIP, **fields)

    def work() -> dict[str, Any]:
        return engine_runs.train_steps(config, steps, **(paths or {}))

    return ranks.on_ranks(world_size, folder, work)[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """One rank with all experts, for 20 steps; its state is in `whole`."""
    folder = tmp_path_factory.mktemp("plain")
    return train(folder, 1, range(STEPS), {"end": folder / "whole"}), folder / "whole"


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The first ten steps, with experts shared by two ranks and without: losses and states."""
    folder = tmp_path_factory.mktemp("halves")
    shared = train(folder, 2, range(10), {"end": folder / "shared"}, parallel=SHARED)
    alone = train(folder, 1, range(10), {"end": folder / "alone"})
    return {"shared": (shared, folder / "shared"), "alone": (alone, folder / "alone")}


def assert_same(one: dict[str, Any], other: dict[str, Any], first: int = 0) -> None:
    for key in ("loss", "norm"):
        assert one[key] == pytest.approx(other[key][first:], abs=1e-5), key
    for mine, theirs in zip(one["parts"], other["parts"][first:], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    for name, biases in other["biases"].items():
        assert max(map(abs, biases)) > 0
        assert one["biases"][name] == pytest.approx(biases, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "fields"),
    [
        (2, {"zero_stage": 1}),
        (2, {"zero_stage": 2}),
        (2, {"zero_stage": 3}),
        (2, {"zero_stage": 1, "parallel": SHARED}),
        (2, {"zero_stage": 2, "parallel": SHARED}),
        (2, {"zero_stage": 3, "parallel": SHARED}),
        (4, {"zero_stage": 1, "parallel": SHARED}),
    ],
    ids=str,
)
def test_shared_experts_and_zero_stages_equal_one_rank(plain, tmp_path, world_size, fields):
    assert_same(train(tmp_path, world_size, range(STEPS), **fields), plain[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "world_size", "fields"),
    [
        ("shared", 1, {}),
        ("alone", 2, {"parallel": SHARED}),
        ("shared", 2, {"zero_stage": 3, "parallel": SHARED}),
    ],
    ids=["shared-to-alone", "alone-to-shared", "zero1-to-zero3"],
)
def test_a_state_goes_on_with_another_arrangement(
    plain, halves, tmp_path, start, world_size, fields
):
    found = train(tmp_path, world_size, range(10, STEPS), {"start": halves[start][1]}, **fields)
    assert_same(found, plain[0], first=10)


@pytest.mark.slow
def test_shared_experts_are_saved_whole_under_their_names(halves):
    for file in ("model/model.safetensors", "optimizer/optimizer.safetensors"):
        shared, alone = (load_file(halves[name][1] / file) for name in ("shared", "alone"))
        assert shared.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(shared[name], tensor, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_resume_with_shared_experts_is_bit_equal(halves, tmp_path):
    whole = train(tmp_path, 2, range(12), {"end": tmp_path / "whole"}, parallel=SHARED)
    paths = {"start": halves["shared"][1], "end": tmp_path / "part"}
    part = train(tmp_path, 2, range(10, 12), paths, parallel=SHARED)
    assert part["loss"] == whole["loss"][10:]
    for file in ("model/model.safetensors", "optimizer/optimizer.safetensors"):
        one, two = ((tmp_path / n / file).read_bytes() for n in ("whole", "part"))
        assert one == two


@pytest.mark.slow
def test_recomputed_layers_exchange_tokens_again_and_change_nothing(plain, tmp_path):
    paths = {"model_fields": {"activation_checkpointing": True}}
    assert_same(
        train(tmp_path, 2, range(6), paths, parallel=SHARED),
        {**plain[0], **{k: plain[0][k][:6] for k in ("loss", "norm", "parts")}, "biases": {}},
    )


@pytest.mark.slow
def test_bf16_stays_close(plain, tmp_path):
    found = train(tmp_path, 2, range(10), precision="bf16", parallel=SHARED)
    assert found["loss"] == pytest.approx(plain[0]["loss"][:10], abs=2e-2)
    assert found["norm"] == pytest.approx(plain[0]["norm"][:10], rel=5e-2)


@pytest.mark.parametrize("lonely", [False, True], ids=["even", "one-rank-gets-nothing"])
def test_a_layer_and_its_gradients_equal_the_whole_layer(tmp_path, lonely):
    results = ranks.on_ranks(2, tmp_path, layer_gradients, lonely)
    for worst in results:
        assert worst < 1e-5


def layer_gradients(lonely: bool) -> float:
    """Largest difference of output and gradients between a whole and a shared layer."""
    rank = torch.distributed.get_rank()
    torch.manual_seed(0)
    layer = MoE(ModelConfig.model_validate(engine_runs.MODEL))
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.2)
    group = ExpertGroup(torch.distributed.group.WORLD, rank, 2)
    shared = ParallelExperts(layer.experts, group)
    x_2SD = torch.randn(2, 24, 32)
    experts_2SK = torch.rand(2, 24, 4).topk(2, dim=-1).indices
    if lonely:
        experts_2SK = torch.rand(2, 24, 2).topk(2, dim=-1).indices  # the first rank's experts only
    weights_2SK = torch.rand(2, 24, 2)
    factor_2SD = torch.randn(2, 24, 32)

    def run(experts, x, chosen, weights, factor):
        x, weights = x.clone().requires_grad_(), weights.clone().requires_grad_()
        y, counts = experts(x, chosen, weights)
        (y * factor).sum().backward()
        return y.detach(), x.grad, weights.grad, counts

    mine = run(shared, x_2SD[rank], experts_2SK[rank], weights_2SK[rank], factor_2SD[rank])
    whole = [
        run(layer.experts, x_2SD[r], experts_2SK[r], weights_2SK[r], factor_2SD[r])
        for r in range(2)
    ]
    pairs = list(zip(mine, whole[rank], strict=True))
    for name in ("gate_up_proj", "down_proj"):
        full = getattr(layer.experts, name).grad
        pairs.append((getattr(shared, name).grad, group.part(full)))
        assert torch.equal(
            group.whole(getattr(shared, name).detach()), getattr(layer.experts, name).detach()
        )
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.slow
def test_a_stage_with_shared_experts_resumes_bit_equal(tmp_path):
    inputs = small.write_inputs(tmp_path / "data")
    config = small.step_config(parallel=SHARED)
    whole, part = tmp_path / "whole", tmp_path / "part"
    small.run(config, inputs, whole)
    shutil.copytree(whole / "_checkpoints", part / "_checkpoints")
    assert small.run(config, inputs, part)["resumed_from"] == 8
    assert small.content(part) == small.content(whole)
    with pytest.raises(ConfigError, match="1 ranks cannot form groups"):
        small.run(config, inputs, tmp_path / "one", world_size=1)
