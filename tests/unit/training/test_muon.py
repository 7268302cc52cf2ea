from __future__ import annotations

import engine_runs
import pytest
import ranks
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from openseek.config.model import ModelConfig
from openseek.config.training import OptimizerConfig
from openseek.errors import TrainingError
from openseek.model import build_model
from openseek.training.muon import is_hidden_matrix, orthogonalise, whole_update
from openseek.training.optimizer import build_optimizer

MUON = {"kind": "muon"}


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16), (3, 16, 32)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3


def test_the_factor_keeps_the_directions_of_its_matrix():
    matrix = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    core = u.mT @ orthogonalise(matrix) @ vh.mT
    off = core - torch.diag(core.diagonal())
    assert float(off.abs().max()) < 1e-4


def test_stacked_projections_and_experts_are_matrices_each():
    stacked = torch.randn(3, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    together = whole_update(stacked.flatten(1, 2), blocks=2)
    apart = torch.stack([whole_update(m, blocks=1) for m in stacked.flatten(0, 1)])
    torch.testing.assert_close(together, apart.view(3, 16, 16))


def test_muon_moves_hidden_matrices_only():
    model = build_model(ModelConfig.model_validate(engine_runs.MODEL), device="meta")
    moved = {n for n, p in model.named_parameters() if is_hidden_matrix(n, p)}
    assert "model.layers.1.mlp.experts.gate_up_proj" in moved
    assert "model.layers.0.self_attn.o_proj.weight" in moved
    assert "mtp.0.eh_proj.weight" in moved
    for kept in ("embed_tokens", "lm_head", "norm", "mlp.gate.weight"):
        assert not any(kept in name for name in moved), kept


def test_it_lowers_the_loss_without_deepspeed():
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(16, 16), "head": torch.nn.Linear(16, 4)})
    optimizer = build_optimizer(model.named_parameters(prefix="m"), OptimizerConfig(**MUON))
    optimizer.ensure_state(model.parameters())
    x, y = torch.randn(64, 16), torch.randint(4, (64,))
    losses = []
    for _ in range(60):
        for group in optimizer.param_groups:
            group["lr"] = 2e-2
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model["head"](model["mlp"](x).tanh()), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert optimizer.count() == 60


def test_zero_3_is_refused():
    with pytest.raises(ValidationError, match="muon does not go with zero_stage=3"):
        engine_runs.train_config(optimizer=MUON, zero_stage=3)


def muon_run(folder, world_size, steps, paths=None, **fields):
    config = engine_runs.train_config(**{"optimizer": MUON, **fields})

    def work():
        return engine_runs.train_steps(config, steps, **(paths or {}))

    return ranks.on_ranks(world_size, folder, work)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("muon")
    return muon_run(folder, 1, range(12), {"end": folder / "end"}), folder / "end"


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"zero_stage": 1}, {"zero_stage": 2}, {"parallel": {"expert_parallel": 2}}],
    ids=str,
)
def test_cut_matrices_are_updated_whole(alone, tmp_path, fields):
    found = muon_run(tmp_path, 2, range(12), **fields)
    assert found["loss"] == pytest.approx(alone[0]["loss"], abs=1e-4)
    assert found["loss"][-1] < found["loss"][0] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_is_bit_equal(tmp_path, precision):
    fields = {"precision": precision}
    whole = muon_run(tmp_path, 2, range(6), {"end": tmp_path / "whole"}, **fields)
    muon_run(tmp_path, 2, range(4), {"end": tmp_path / "half"}, **fields)
    paths = {"start": tmp_path / "half", "end": tmp_path / "part"}
    part = muon_run(tmp_path, 2, range(4, 6), paths, **fields)
    assert part["loss"] == whole["loss"][4:]
    for file in ("model/model.safetensors", "optimizer/optimizer.safetensors"):
        one, two = ((tmp_path / n / file).read_bytes() for n in ("whole", "part"))
        assert one == two


@pytest.mark.slow
def test_hidden_matrices_have_one_moment_and_adamw_refuses_them(alone, tmp_path):
    moments = load_file(alone[1] / "optimizer" / "optimizer.safetensors")
    assert "exp_avg.model.layers.1.mlp.experts.down_proj" in moments
    assert "exp_avg_sq.model.layers.1.mlp.experts.down_proj" not in moments
    assert "exp_avg_sq.model.embed_tokens.weight" in moments
    with pytest.raises(AssertionError, match=f"{TrainingError.__name__}.*exp_avg_sq"):
        muon_run(tmp_path, 1, range(12, 13), {"start": alone[1]}, optimizer={"kind": "adamw"})
