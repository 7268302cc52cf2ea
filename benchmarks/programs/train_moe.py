"""Run one MoE layer forward and backward: `train_moe.py WHO STEPS`, WHO openseek or torchtitan.

Both have the same weights and input, in bf16. The last line is a JSON object: CPU seconds of each
step after the first two, peak resident bytes, and the mean square of the output. Imports nothing of
ours for torchtitan, which lives in a virtual environment of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SEQUENCES, LENGTH = 2, 1024
WARM = 2
WIDTH, EXPERTS, CHOSEN, EXPERT_WIDTH = 512, 64, 6, 128
STD = 0.02
Layer = Callable[[Tensor], Tensor]


def weights() -> dict[str, Tensor]:
    """Draw the layer's weights: gate, and gate, up and down projections of experts and shared."""
    generator = torch.Generator().manual_seed(0)
    e, d, f = EXPERTS, WIDTH, EXPERT_WIDTH
    shapes = {
        "router": (e, d), "gate": (e, f, d), "up": (e, f, d), "down": (e, d, f),
        "shared_gate": (f, d), "shared_up": (f, d), "shared_down": (d, f),
    }  # fmt: skip
    return {
        name: (torch.randn(shape, generator=generator) * STD).bfloat16()
        for name, shape in shapes.items()
    }


def openseek(w: dict[str, Tensor]) -> tuple[torch.nn.Module, Layer]:
    """Ours; with the balance and z losses that it computes beside its output."""
    from openseek.config.model import ModelConfig
    from openseek.model.moe import MoE

    config = ModelConfig.model_validate({
        "vocab_size": 64, "hidden_size": WIDTH, "n_routed_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN, "moe_intermediate_size": EXPERT_WIDTH,
        "n_shared_experts": 1, "routed_scaling_factor": 1.0,
    })  # fmt: skip
    layer = MoE(config).bfloat16().train()
    shared = layer.shared_experts
    with torch.no_grad():
        layer.gate.weight.copy_(w["router"])
        layer.experts.gate_up_proj.copy_(torch.cat((w["gate"], w["up"]), dim=1))
        layer.experts.down_proj.copy_(w["down"])
        shared.gate_proj.weight.copy_(w["shared_gate"])
        shared.up_proj.weight.copy_(w["shared_up"])
        shared.down_proj.weight.copy_(w["shared_down"])
    return layer, lambda x_BTD: layer(x_BTD)[0]


def torchtitan(w: dict[str, Tensor]) -> tuple[torch.nn.Module, Layer]:
    """torchtitan's, on one process: grouped_mm between a local reordering and a scatter-add."""
    from torchtitan.models.common.feed_forward import FeedForward
    from torchtitan.models.common.linear import Linear
    from torchtitan.models.common.moe import (
        GroupedExperts,
        MoE,
        RoutedExperts,
        TokenChoiceTopKRouter,
    )
    from torchtitan.models.common.token_dispatcher import LocalTokenDispatcher

    wide = Linear.Config(in_features=WIDTH, out_features=EXPERT_WIDTH)
    narrow = Linear.Config(in_features=EXPERT_WIDTH, out_features=WIDTH)
    layer = MoE.Config(
        num_experts=EXPERTS,
        routed_experts=RoutedExperts.Config(
            inner_experts=GroupedExperts.Config(
                dim=WIDTH, hidden_dim=EXPERT_WIDTH, num_experts=EXPERTS
            ),
            token_dispatcher=LocalTokenDispatcher.Config(num_experts=EXPERTS, top_k=CHOSEN),
        ),
        router=TokenChoiceTopKRouter.Config(
            num_experts=EXPERTS,
            gate=Linear.Config(in_features=WIDTH, out_features=EXPERTS),
            top_k=CHOSEN,
            route_norm=True,
        ),
        shared_experts=FeedForward.Config(w1=wide, w2=narrow, w3=wide),
    ).build()
    layer = layer.bfloat16().train()
    experts, shared = layer.routed_experts.inner_experts, layer.shared_experts
    with torch.no_grad():
        layer.router.gate.weight.copy_(w["router"])
        for name, value in (("w1_EFD", "gate"), ("w3_EFD", "up"), ("w2_EDF", "down")):
            getattr(experts, name).copy_(w[value])
        for name, value in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
            getattr(shared, name).weight.copy_(w[f"shared_{value}"])
    return layer, layer


WHO: dict[str, Callable[[dict[str, Tensor]], tuple[torch.nn.Module, Layer]]] = {
    "openseek": openseek,
    "torchtitan": torchtitan,
}


def main() -> None:
    """Run and print."""
    who, steps = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    layer, forward = WHO[who](weights())
    generator = torch.Generator().manual_seed(1)
    shape = (SEQUENCES, LENGTH, WIDTH)
    seconds: list[float] = []
    square = 0.0
    for _ in range(WARM + steps):
        x_BTD = torch.randn(shape, generator=generator).bfloat16().requires_grad_()
        upstream_BTD = torch.randn(shape, generator=generator).bfloat16()
        layer.zero_grad(set_to_none=True)
        begin = time.process_time()
        y_BTD = forward(x_BTD)
        y_BTD.backward(upstream_BTD)
        seconds.append(time.process_time() - begin)
        square = float(y_BTD.detach().float().square().mean())
    answer: dict[str, Any] = {
        "tokens": SEQUENCES * LENGTH,
        "step_s": [round(s, 4) for s in seconds[WARM:]],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "mean_square": square,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
