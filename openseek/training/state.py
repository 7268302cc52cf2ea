"""A training state as a folder: what a checkpoint holds and what the next stage starts from.

    model/config.json, model/model.safetensors    fp32 weights and router biases (openseek.model)
    optimizer/optimizer.safetensors               Adam's moments, `{moment}.{parameter}`
    optimizer/state.json                          updates made so far

Full tensors under parameter names: any number of ranks can go on from it, the bytes depend on the
values alone, and nothing in it executes on load. Rank 0 holds one copy in host memory to write it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from openseek.config.model import ModelConfig
from openseek.errors import TrainingError
from openseek.model.native import WEIGHTS, from_weights, save_weights
from openseek.training.engine import MOMENTS, TrainEngine
from openseek.training.job import MODEL, OPTIMIZER

MOMENTS_FILE = "optimizer.safetensors"


def save_state(engine: TrainEngine, config: ModelConfig, folder: Path, *, rank: int) -> None:
    """Write the state; a collective over all ranks, of which rank 0 writes.

    Args:
        engine: What to save.
        config: The model's configuration.
        folder: Where to write; made if missing.
        rank: This process.
    """
    from safetensors.torch import save_file

    weights = {name: b for name, b in engine.model.state_dict().items() if name in _buffers(engine)}
    moments: dict[str, torch.Tensor] = {}
    for name, value in engine.full_masters():
        if rank == 0:
            weights[name] = _host(value)
    for key in MOMENTS:
        for name, value in engine.full_moments(key):
            if rank == 0:
                moments[f"{key}.{name}"] = _host(value)
    if rank:
        return
    save_weights({n: _host(w) for n, w in weights.items()}, config, folder / MODEL)
    (folder / OPTIMIZER).mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted(moments.items())), folder / OPTIMIZER / MOMENTS_FILE)
    text = json.dumps({"updates": engine.updates}, sort_keys=True)
    (folder / OPTIMIZER / "state.json").write_text(text, encoding="utf-8")


def load_model(folder: Path, config: ModelConfig, dtype: torch.dtype) -> torch.nn.Module:
    """Build the model of a state under the given configuration.

    Raises:
        CorruptArtifactError: The weights are of another architecture.
    """
    from safetensors.torch import load_file

    path = folder / MODEL / WEIGHTS
    return from_weights(config, load_file(path), dtype, where=str(path))


def load_optimizer(engine: TrainEngine, folder: Path) -> None:
    """Put master weights, moments and the count of updates in place, on every rank.

    Args:
        engine: An engine whose model was built by `load_model`.
        folder: What `save_state` wrote, with any number of ranks.

    Raises:
        TrainingError: The state is of another model.
    """
    from safetensors import safe_open

    names = [n for n, p in engine.model.named_parameters() if p.requires_grad]
    path = folder / OPTIMIZER / MOMENTS_FILE
    with safe_open(path, framework="pt") as f:
        found = set(f.keys())
        wanted = [(n, m) for n in names for m in engine.moments_of(n)]
        if missing := [k for n, m in wanted if (k := f"{m}.{n}") not in found]:
            raise TrainingError(
                f"the optimizer state has no {missing[0]!r} ({len(missing)} missing)",
                where=str(path),
                mend="It belongs to another model or optimizer: give the stages the same `model` "
                "section and the same train.optimizer.kind.",
            )
        for name, key in wanted:
            engine.set_moment(name, key, f.get_tensor(f"{key}.{name}"))
    with safe_open(folder / MODEL / WEIGHTS, framework="pt") as f:
        for name in names:
            engine.set_master(name, f.get_tensor(name))
    state = json.loads((folder / OPTIMIZER / "state.json").read_text(encoding="utf-8"))
    engine.set_updates(state["updates"])


def _buffers(engine: TrainEngine) -> set[str]:
    return {name for name, _ in engine.model.named_buffers()}


def _host(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", torch.float32, copy=True).contiguous()
