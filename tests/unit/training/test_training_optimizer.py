from __future__ import annotations

import torch

from openseek.config.training import OptimizerConfig
from openseek.training.optimizer import build_optimizer


def models() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    one = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
    two = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
    two.load_state_dict(one.state_dict())
    return one, two


def prepared(model: torch.nn.Module, config: OptimizerConfig):
    optimizer = build_optimizer(model.named_parameters(), config)
    optimizer.ensure_state(model.parameters())
    return optimizer


def test_it_equals_torch_adamw():
    config = OptimizerConfig(weight_decay=0.1)
    one, two = models()
    ours = prepared(one, config)
    matrices = [p for p in two.parameters() if p.ndim == 2]
    vectors = [p for p in two.parameters() if p.ndim < 2]
    theirs = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(config.beta1, config.beta2), eps=config.eps, fused=True,
    )  # fmt: skip
    for step in range(5):
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
        for model, optimizer in ((one, ours), (two, theirs)):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 / (step + 1)
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert ours.count() == 5


def test_a_veto_leaves_weights_and_moments_alone():
    model, untouched = models()
    optimizer = prepared(model, OptimizerConfig())
    optimizer.param_groups[0]["lr"] = 1.0
    model(torch.ones(2, 8)).sum().backward()
    optimizer.veto = lambda: True
    optimizer.step()
    assert optimizer.count() == 0
    pairs = zip(model.parameters(), untouched.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
