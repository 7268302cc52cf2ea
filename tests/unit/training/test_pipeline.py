from __future__ import annotations

from types import SimpleNamespace

import engine_runs
import numpy as np
import pytest
import ranks
import torch
import training_small as small
from pydantic import ValidationError

from openseek.config.model import ModelConfig
from openseek.config.parallel import ParallelConfig
from openseek.config.training import TrainConfig, TrainStepConfig
from openseek.errors import ConfigError
from openseek.model import build_model, update_router_biases
from openseek.training.batches import cut
from openseek.training.ds_config import build_ds_config
from openseek.training.figures import Accumulator
from openseek.training.pipeline import held

STEPS = 8
MODEL = {**engine_runs.MODEL, "num_hidden_layers": 4, "mtp": {"depth": 0}}
BALANCE = 1e-3


def in_pipeline(config: TrainConfig, model_fields: dict) -> dict:
    """Train in a pipeline and return losses, gradient norms and this rank's last weights."""
    from openseek.training.ds_pipeline import PipelineTrainEngine

    world_size = torch.distributed.get_world_size()
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model_config = ModelConfig.model_validate({**MODEL, **model_fields})
    kept = held(model_config, config.parallel, torch.distributed.get_rank(), world_size)
    model = build_model(model_config, dtype=dtype, seed=1, kept=kept)
    engine = PipelineTrainEngine(model, config, world_size)
    found = {"loss": [], "norm": []}
    for step in range(STEPS):
        batch = step_batch(config, step)
        sums = Accumulator(["all"])
        numbers = engine.share(config.n_micro)
        engine.run(cut(batch, numbers, config.micro_batch, torch.device("cpu")), sums)
        figures = sums.reduce(config.n_micro, torch.device("cpu"))
        found["loss"].append(figures.loss)
        assert figures.by_category["all"] == pytest.approx(figures.parts["ce"], abs=1e-6)
        found["norm"].append(engine.update(3e-3, lambda norm: True)[0])
        engine.balance(0.0)
    found["weights"] = {n: p.detach().numpy() for n, p in engine.model.named_parameters()}
    engine.close()
    return found


def step_batch(config: TrainConfig, step: int) -> SimpleNamespace:
    tokens = step_tokens(config, step)
    category = torch.zeros(len(tokens), dtype=torch.long)
    return SimpleNamespace(tokens_BT1=tokens, doc_BT1=torch.zeros_like(tokens), category_B=category)


def step_tokens(config: TrainConfig, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(small.VOCAB, (config.batch_sequences, 1), generator=generator)
    return (starts + torch.arange(small.SEQ_LEN + 1)) % small.VOCAB


def in_one_process(config: TrainConfig, model_fields: dict) -> dict:
    """Train without DeepSpeed, by torch's AdamW: what a pipeline must give."""
    model_config = ModelConfig.model_validate({**MODEL, **model_fields})
    model = build_model(model_config, seed=1).train()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1,
    )  # fmt: skip
    found = {"loss": [], "norm": []}
    for step in range(STEPS):
        tokens, losses = step_tokens(config, step), []
        for rows in tokens.split(config.micro_batch):
            loss = model(rows[:, :-1], labels_BT=rows[:, 1:]).loss
            (loss / config.n_micro).backward()
            losses.append(loss.item())
        found["loss"].append(sum(losses) / len(losses))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        found["norm"].append(float(norm))
        adamw.step()
        adamw.zero_grad()
        update_router_biases(model, 0.0)
    found["weights"] = {n: p.detach().numpy() for n, p in model.named_parameters()}
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "schedule", "model_fields"),
    [
        (2, "1f1b", {}),
        (2, "dualpipev", {}),
        (2, "dualpipev", {"tie_word_embeddings": True, "activation_checkpointing": True}),
        (4, "dualpipev", {}),
    ],
    ids=["1f1b", "dualpipev", "dualpipev-tied-recomputed", "dualpipev-two-pipelines"],
)
def test_a_pipeline_equals_one_process(tmp_path, world_size, schedule, model_fields):
    config = engine_runs.train_config(
        batch_sequences=8, micro_batch=1, grad_clip=0.5,
        parallel={"pipeline": 2, "schedule": schedule},
    )  # fmt: skip
    one = in_one_process(config, model_fields)
    found = ranks.on_ranks(world_size, tmp_path, in_pipeline, config, model_fields)
    for rank in found:
        assert rank["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert rank["norm"] == pytest.approx(one["norm"], abs=1e-5)
        for name, weight in rank["weights"].items():
            assert np.abs(weight - one["weights"][name]).max() < 1e-4, name
    assert set().union(*(rank["weights"] for rank in found)) == set(one["weights"])


@pytest.mark.parametrize("n_layers", [4, 5, 7])
@pytest.mark.parametrize("schedule", ["1f1b", "dualpipev"])
def test_ranks_of_a_pipeline_hold_the_model_once(schedule, n_layers):
    config = ModelConfig.model_validate({**MODEL, "num_hidden_layers": n_layers})
    parallel = ParallelConfig(pipeline=3, schedule=schedule)
    parts = [held(config, parallel, rank, 6) for rank in range(6)]
    assert parts[::2] == parts[1::2]
    once = [name for part in parts[::2] for name in part]
    assert len(once) == len(set(once)) == n_layers + 3
    assert "model.embed_tokens." in parts[0]
    assert "lm_head." in parts[0 if schedule == "dualpipev" else 4]
    assert held(config, ParallelConfig(), 0, 6) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"zero_stage": 2}, "does not go with zero_stage=2"),
        ({"compile": True}, "compile does not go with parallel.pipeline=2"),
        ({"optimizer": {"kind": "muon"}}, "does not go with optimizer.kind=muon"),
        ({"parallel": {"pipeline": 2, "expert_parallel": 2}}, "does not go with expert_parallel"),
    ],
    ids=str,
)
def test_what_a_pipeline_cannot_do_is_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        engine_runs.train_config(**{"parallel": {"pipeline": 2}, **fields})


@pytest.mark.parametrize(
    ("fields", "world_size", "says"),
    [
        ({}, 3, "cannot form pipelines"),
        ({"batch_sequences": 6, "micro_batch": 2}, 4, "shared by 2 pipelines"),
        ({"parallel": {"pipeline": 2, "schedule": "dualpipev"}}, 4, "at least 4 micro-batches"),
    ],
    ids=str,
)
def test_ranks_that_do_not_fit_a_pipeline_are_refused(fields, world_size, says):
    config = engine_runs.train_config(**{"parallel": {"pipeline": 2}, **fields})
    with pytest.raises(ConfigError, match=says):
        build_ds_config(config, world_size)


@pytest.mark.parametrize(
    ("model_fields", "parallel", "says"),
    [
        ({"mtp": {"depth": 1}}, {"pipeline": 2}, "MTP layers need"),
        ({"tie_word_embeddings": True}, {"pipeline": 2}, "tied output layer"),
        ({"num_hidden_layers": 2}, {"pipeline": 4, "schedule": "dualpipev"}, "cannot be cut into"),
    ],
    ids=["mtp", "tied", "few-layers"],
)
def test_models_that_cannot_be_cut_are_refused(model_fields, parallel, says):
    from openseek.training.ds_pipeline import check_model

    model = ModelConfig.model_validate({**MODEL, **model_fields})
    with pytest.raises(ConfigError, match=says):
        check_model(model, engine_runs.train_config(parallel=parallel))
    stage = small.step_config().model_dump() | {"model": {**MODEL, **model_fields}}
    stage["train"]["parallel"] = parallel
    with pytest.raises(ValidationError, match=says):
        TrainStepConfig.model_validate(stage)
