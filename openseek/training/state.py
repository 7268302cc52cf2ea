"""A training state as a folder: what a checkpoint holds and what the next stage starts from.

    model/config.json, model/model.safetensors    fp32 weights and router biases (openseek.model)
    optimizer/optimizer.safetensors               Adam's moments, `{moment}.{parameter}`
    optimizer/state.json                          updates made so far

Full tensors under parameter names: any number of ranks can go on from it, the bytes depend on the
values alone, and nothing in it executes on load. Rank 0 writes it, one tensor after the other as
they are gathered, or from a copy in its host memory where training is to go on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from openseek.config.model import ModelConfig
from openseek.errors import TrainingError
from openseek.model.model import OpenSeekModel
from openseek.model.native import CONFIG, WEIGHTS, save_weights, write_json
from openseek.model.streaming import WeightFolder, load_streamed
from openseek.model.tensor_files import Slot, TensorFile, write_tensors
from openseek.training.ds_engine import MOMENTS, Engine
from openseek.training.job import MODEL, OPTIMIZER

MOMENTS_FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class Snapshot:
    """A training state in host memory, which the engine no longer changes.

    Attributes:
        weights: fp32 weights and router biases by name.
        moments: Adam's moments, `{moment}.{parameter}`.
        updates: Updates made so far.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    updates: int


def take_snapshot(engine: Engine, *, rank: int) -> Snapshot | None:
    """Copy the state; a collective over all ranks, of which only rank 0 gets it."""
    weights: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}
    buffers = dict(engine.model.named_buffers())
    for key, name, value in _gathered(engine):
        if rank == 0 and key:
            moments[f"{key}.{name}"] = _host(value)
        elif rank == 0:
            weights[name] = _host(value).clone() if name in buffers else _host(value)
    return Snapshot(weights, moments, engine.updates) if rank == 0 else None


def write_snapshot(snapshot: Snapshot, config: ModelConfig, folder: Path) -> None:
    """Write a state and flush it to disk.

    Args:
        snapshot: The state.
        config: The model's configuration.
        folder: Where to write; made if missing.
    """
    save_weights(snapshot.weights, config, folder / MODEL)
    (folder / OPTIMIZER).mkdir(parents=True, exist_ok=True)
    write_tensors(folder / OPTIMIZER / MOMENTS_FILE, snapshot.moments, metadata=None)
    _write_updates(snapshot.updates, folder)


def _write_updates(updates: int, folder: Path) -> None:
    text = json.dumps({"updates": updates}, sort_keys=True)
    (folder / OPTIMIZER / "state.json").write_text(text, encoding="utf-8")


def save_state(engine: Engine, config: ModelConfig, folder: Path, *, rank: int) -> None:
    """Write the state as it is gathered, with one tensor in host memory; a collective.

    Args:
        engine: What to save.
        config: The model's configuration.
        folder: Where rank 0 writes; made if missing. The bytes are those of `write_snapshot`.
        rank: This process.
    """
    if rank:
        for _ in _gathered(engine):
            pass
        return
    weights, moments = _slots(engine, config)
    for part in (MODEL, OPTIMIZER):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (
        TensorFile(folder / MODEL / WEIGHTS, weights) as model,
        TensorFile(folder / OPTIMIZER / MOMENTS_FILE, moments, metadata=None) as optimizer,
    ):
        for key, name, value in _gathered(engine):
            (optimizer if key else model).put(f"{key}.{name}" if key else name, [_host(value)])
    write_json(folder / MODEL / CONFIG, config.identity())
    _write_updates(engine.updates, folder)


def _gathered(engine: Engine) -> Iterator[tuple[str, str, Tensor]]:
    """Gather all that is saved: moment or an empty string, parameter or buffer, value."""
    for name, value in chain(engine.full_buffers(), engine.full_masters()):
        yield "", name, value
    for key in MOMENTS:
        for name, value in engine.full_moments(key):
            yield key, name, value


def _slots(engine: Engine, config: ModelConfig) -> tuple[list[Slot], list[Slot]]:
    """List what weights and moments will be written: no rank holds all of them."""
    with torch.device("meta"):
        model = OpenSeekModel(config)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    saved = {name: t for name, t in model.state_dict().items() if name in buffers} | parameters
    weights = [Slot(name, torch.float32, tuple(t.shape)) for name, t in saved.items()]
    moments = [
        Slot(f"{key}.{name}", torch.float32, tuple(p.shape))
        for name, p in parameters.items()
        for key in engine.moments_of(name)
    ]
    return weights, moments


def load_model(
    folder: Path, config: ModelConfig, dtype: torch.dtype, kept: Sequence[str] | None = None
) -> OpenSeekModel:
    """Build the model of a state, or of a folder of weights, under the given configuration.

    Args:
        folder: What `save_state` wrote, or a native or Hugging Face folder, of any size.
        config: The model.
        dtype: Type of the weights in memory.
        kept: As in `openseek.model.model.materialise`: only these are read.

    Raises:
        OpenSeekError: As `openseek.model.streaming.WeightFolder` does.
    """
    return load_streamed(weights_folder(folder), config, dtype, kept)


def load_optimizer(engine: Engine, config: ModelConfig, folder: Path) -> None:
    """Put master weights, moments and the count of updates in place, on every rank.

    Args:
        engine: An engine whose model was built by `load_model`.
        config: The model.
        folder: What `save_state` wrote, with any number of ranks. Weights alone, without
            `optimizer/`, start with fresh moments.

    Raises:
        TrainingError: The state is of another model.
    """
    names = [n for n, p in engine.model.named_parameters() if p.requires_grad]
    weights = WeightFolder(weights_folder(folder), config)
    for name in names:
        engine.set_master(name, weights.tensor(name))
    if (folder / OPTIMIZER).is_dir():
        _load_moments(engine, names, folder / OPTIMIZER / MOMENTS_FILE)
        state = json.loads((folder / OPTIMIZER / "state.json").read_text(encoding="utf-8"))
        engine.set_updates(state["updates"])


def _load_moments(engine: Engine, names: Sequence[str], path: Path) -> None:
    from safetensors import safe_open

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


def weights_folder(folder: Path) -> Path:
    """Return where the weights of a state lie; a folder of weights is its own."""
    return folder / MODEL if (folder / MODEL).is_dir() else folder


def _host(value: Tensor) -> Tensor:
    # What an engine gathers is a tensor of its own already: on a CPU it is the copy.
    return value.detach().to("cpu", torch.float32).contiguous()
