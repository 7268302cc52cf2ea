"""Train a small model on random tokens with an engine, step by step, on every rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import training_small as small

from openseek.config.model import ModelConfig
from openseek.config.training import TrainConfig
from openseek.model import build_model, update_router_biases
from openseek.training.engine import TrainEngine
from openseek.training.state import load_model, load_optimizer, save_state

MODEL: dict[str, Any] = {
    **small.MODEL,
    "num_hidden_layers": 3,
    "mtp": {"depth": 1},
    "balance": {"seq_aux_weight": 1e-2, "z_loss": 1e-3, "bias_update_rate": 1e-3},
}


def train_config(**fields: Any) -> TrainConfig:
    return TrainConfig.model_validate({"batch_sequences": 8, "micro_batch": 2, **fields})


def train_steps(
    config: TrainConfig,
    steps: range,
    *,
    start: Path | None = None,
    end: Path | None = None,
    model_fields: dict[str, Any] | None = None,
    lr: float = 3e-3,
) -> dict[str, Any]:
    """Train and return losses, gradient norms and router biases of every step.

    Args:
        config: How to train.
        steps: Numbers of the steps; the data of a step depend on its number alone.
        start: State to go on from.
        end: Where to write the state.
        model_fields: Fields of the model that differ.
        lr: Learning rate.
    """
    world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    model_config = ModelConfig.model_validate({**MODEL, **(model_fields or {})})
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    if start:
        model = load_model(start, model_config, dtype)
    else:
        model = build_model(model_config, dtype=dtype, seed=1)
    engine = TrainEngine(model, config, world_size)
    if start:
        load_optimizer(engine, model_config, start)
    model.train()
    found: dict[str, Any] = {"loss": [], "norm": [], "parts": []}
    for step in steps:
        loss, parts = one_step(engine, config, step, rank, world_size)
        found["loss"].append(loss)
        found["parts"].append(parts)
        norm, updated = engine.update(lr, lambda norm: True)
        found["norm"].append(norm)
        assert updated
        update_router_biases(
            engine.model, model_config.balance.bias_update_rate, torch.distributed.all_reduce
        )
    buffers = engine.model.state_dict().items()
    found["biases"] = {n: b.tolist() for n, b in buffers if n.endswith("correction_bias")}
    if end:
        save_state(engine, model_config, end, rank=rank)
        torch.distributed.barrier()
    engine.close()
    return found


def one_step(
    engine: TrainEngine, config: TrainConfig, step: int, rank: int, world_size: int
) -> tuple[float, dict[str, float]]:
    """Accumulate all micro-batches of a step; the mean loss over all ranks, and its parts."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(small.VOCAB, (config.batch_sequences, 1), generator=generator)
    strides = torch.randint(1, 4, (config.batch_sequences, 1), generator=generator)
    tokens = (starts + strides * torch.arange(small.SEQ_LEN + 1)) % small.VOCAB
    sums: dict[str, torch.Tensor] = {}
    mine = range(rank, config.n_micro, world_size)
    for index in mine:
        rows = tokens[index * config.micro_batch : (index + 1) * config.micro_batch]
        output = engine.accumulate(tokens_BT=rows[:, :-1], labels_BT=rows[:, 1:])
        for name, value in {"loss": output.loss.detach(), **output.parts}.items():
            sums[name] = sums.get(name, torch.zeros(())) + value.float()
        if index != mine[-1]:
            engine.micro_step()
    packed = torch.stack([sums[name] for name in sorted(sums)]).double()
    torch.distributed.all_reduce(packed)
    means = dict(zip(sorted(sums), (packed / config.n_micro).tolist(), strict=True))
    return means.pop("loss"), means
