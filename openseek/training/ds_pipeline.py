"""A model cut into stages, run by DeepSpeed's pipeline engines.

`PipelineTrainEngine` is to a pipeline what `TrainEngine` is to a whole model, but takes all
micro-batches of a step at once: a schedule interleaves them.

- `1f1b`: each rank holds one stage and alternates forward and backward passes.
- `dualpipev`: each rank holds two stages, r from the front and r from the back, so that rank 0 has
  both ends and the pipeline fills from both sides (https://github.com/deepseek-ai/DualPipe).
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Sequence

import torch
from deepspeed.runtime.pipe.dualpipev import DualPipeVModule
from deepspeed.runtime.pipe.module import PipelineModule
from deepspeed.runtime.pipe.schedule import OptimizerStep
from torch import Tensor

from openseek.config.training import TrainConfig
from openseek.errors import ConfigError
from openseek.model.model import OpenSeekModel
from openseek.training.ds_config import build_ds_config
from openseek.training.optimizer import build_optimizer
from openseek.training.pipeline import Block, Head, to_layers

MODULES = {"1f1b": PipelineModule, "dualpipev": DualPipeVModule}


class PipelineTrainEngine:
    """A model in stages under DeepSpeed.

    Args:
        model: The whole model, the same on every rank; ranks keep their stages of it.
        config: How to train; `parallel.pipeline` is more than 1.
        world_size: Number of ranks; the process group exists already.

    Raises:
        ConfigError: The model cannot be cut as asked.
    """

    def __init__(self, model: OpenSeekModel, config: TrainConfig, world_size: int) -> None:
        import deepspeed

        check_model(model, config)
        stages = config.parallel.pipeline
        ds_config = build_ds_config(config, world_size)
        self.n_micro = ds_config["gradient_accumulation_steps"]
        layers = to_layers(model, self.n_micro)
        head = layers[-1][0]
        assert isinstance(head, Head)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how it cuts
            self._module = MODULES[config.parallel.schedule](
                layers=[layer for layer, _ in layers],
                num_stages=stages,
                loss_fn=head.loss,
                partition_method="uniform",
            )
        self._names = {
            f"{number}.{own}": name
            for number, (_, names) in enumerate(layers)
            for own, name in names.items()
        }
        named = [(self._names[n], p) for n, p in self._module.named_parameters()]
        self._inner = build_optimizer(named, config.optimizer)
        self._engine, self._outer, _, _ = deepspeed.initialize(
            model=self._module, optimizer=self._inner, config=ds_config, dist_init_required=False
        )
        self._inner.ensure_state(p for g in self._inner.param_groups for p in g["params"])
        self._take_step = self._engine._exec_optimizer_step
        # The schedule ends with the update; the guard decides between the two.
        instructions = self._engine._INSTRUCTION_MAP
        self._engine._INSTRUCTION_MAP = {**instructions, OptimizerStep: lambda engine: None}

    @property
    def blocks(self) -> list[Block]:
        """The decoder layers of this rank."""
        return [m for m in self._module.modules() if isinstance(m, Block)]

    def accumulate(self, micro_batches: Sequence[dict[str, Tensor]]) -> float:
        """Run all micro-batches forward and backward and return their mean loss over all ranks.

        Args:
            micro_batches: This pipeline's micro-batches of the step, the same on all its ranks:
                `tokens_BT`, `labels_BT` and, for packed sequences, `doc_BT`.
        """
        for block in self.blocks:
            block.router_loss = 0.0
        stream = [
            (
                (b["tokens_BT"], b.get("doc_BT", torch.zeros_like(b["tokens_BT"]))),
                b["labels_BT"],
            )
            for b in micro_batches
        ]
        ce = float(self._engine.train_batch(iter(stream)))
        router = torch.tensor(
            sum(block.router_loss for block in self.blocks) / self.n_micro, dtype=torch.float64
        ).to(self._engine.device)
        torch.distributed.all_reduce(router)
        pipelines = self._engine.dp_world_size
        return ce + float(router) / pipelines

    def update(self, lr: float, accept: Callable[[float], bool]) -> tuple[float, bool]:
        """End the step as `TrainEngine.update` does."""
        verdict: list[bool] = []

        def veto() -> bool:
            if not verdict:
                verdict.append(accept(self._norm()))
            return not verdict[0]

        for group in self._inner.param_groups:
            group["lr"] = lr
        self._inner.veto = veto
        self._take_step()
        self._inner.veto = None
        if not verdict:
            accept(-1.0)
            return -1.0, False
        return self._norm(), verdict[0]

    def _norm(self) -> float:
        norm = float(self._outer._global_grad_norm)
        return norm if math.isfinite(norm) else -1.0

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Return this rank's parameters under the model's names."""
        return {self._names[n]: p for n, p in self._module.named_parameters()}

    def close(self) -> None:
        """Release DeepSpeed's hooks and buffers."""
        self._engine.destroy()


def check_model(model: OpenSeekModel, config: TrainConfig) -> None:
    """Refuse a model that this pipeline cannot run.

    Raises:
        ConfigError: Says what about it, and what to change.
    """
    stages = config.parallel.pipeline
    cuts = stages * (2 if config.parallel.schedule == "dualpipev" else 1)
    n_layers = model.config.num_hidden_layers + 2
    if len(model.mtp):
        raise ConfigError(
            "MTP layers need the tokens of the first stage and the states of the last one",
            where="model.mtp.depth",
            mend="Set model.mtp.depth to 0, or train.parallel.pipeline to 1.",
        )
    if model.config.tie_word_embeddings and config.parallel.schedule == "1f1b":
        raise ConfigError(
            "a tied output layer shares its weights with the first stage, and under 1f1b another "
            "rank holds that",
            where="model.tie_word_embeddings",
            mend="Set train.parallel.schedule to dualpipev, whose first rank holds both ends.",
        )
    if n_layers < cuts:
        raise ConfigError(
            f"{n_layers} layers (embedding and norm among them) cannot be cut into {cuts} stages",
            where=f"train.parallel.pipeline={stages}",
            mend="Use fewer stages, or a model with more layers.",
        )
