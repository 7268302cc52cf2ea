"""A model cut into stages, run by DeepSpeed's pipeline engines.

`PipelineTrainEngine` is to a pipeline what `TrainEngine` is to a whole model; a schedule
interleaves the micro-batches of a step.

- `1f1b`: each rank holds one stage and alternates forward and backward passes.
- `dualpipev`: each rank holds two stages, r from the front and r from the back, so that rank 0 has
  both ends and the pipeline fills from both sides (https://github.com/deepseek-ai/DualPipe).

States are gathered on rank 0 under the model's names, so a checkpoint is that of a whole model.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator

import torch
from deepspeed.runtime.pipe.dualpipev import DualPipeVModule
from deepspeed.runtime.pipe.module import PipelineModule
from deepspeed.runtime.pipe.schedule import OptimizerStep
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from torch import Tensor

from openseek.config.model import ModelConfig
from openseek.config.parallel import pipeline_obstacle
from openseek.config.training import TrainConfig
from openseek.errors import ConfigError
from openseek.model import update_router_biases
from openseek.model.loss import IGNORE
from openseek.model.model import ModelOutput, OpenSeekModel
from openseek.model.moe import MoE
from openseek.training.batches import MicroBatch
from openseek.training.ds_config import build_ds_config
from openseek.training.ds_engine import Engine
from openseek.training.figures import Accumulator, bias_ranges
from openseek.training.gathering import Gathering
from openseek.training.optimizer import build_optimizer
from openseek.training.pipeline import Block, Head, keep_only, to_layers

MODULES = {"1f1b": PipelineModule, "dualpipev": DualPipeVModule}


class PipelineTrainEngine(Engine):
    """A model in stages under DeepSpeed.

    Args:
        model: The whole model, the same on every rank; ranks keep their stages of it, and what
            `openseek.training.pipeline.held` does not name may be on the meta device.
        config: How to train; `parallel.pipeline` is more than 1.
        world_size: Number of ranks; the process group exists already.

    Raises:
        ConfigError: The model cannot be cut as asked.
    """

    def __init__(self, model: OpenSeekModel, config: TrainConfig, world_size: int) -> None:
        import deepspeed

        check_model(model.config, config)
        self.model = model
        self.config = model.config
        self.pipelines = world_size // config.parallel.pipeline
        ds_config = build_ds_config(config, world_size)
        self.n_micro = ds_config["gradient_accumulation_steps"]
        self._module = self._stages(model, config)
        held = {id(p) for p in self._module.parameters()}
        assert not any(p.is_meta for p in self._module.parameters())
        self._moe = [name for name, m in model.named_modules() if isinstance(m, MoE)]
        self._saved = {n: tuple(t.shape) for n, t in model.state_dict().items()}
        self._parameters = [n for n, _ in model.named_parameters()]
        keep_only(model, {n for n, p in model.named_parameters() if id(p) in held})
        self._inner = build_optimizer(model.named_parameters(), config.optimizer)
        self._engine, self._outer, _, _ = deepspeed.initialize(
            model=self._module, optimizer=self._inner, config=ds_config, dist_init_required=False
        )
        self._inner.ensure_state(p for g in self._inner.param_groups for p in g["params"])
        self._outer._lazy_init_hp_params_optimizer_state()
        self._gathering = Gathering(self._saved, model.state_dict(), self._engine.device)
        self.replica_group = self._module._grid.get_data_parallel_group()
        self._take_step = self._engine._exec_optimizer_step
        # The schedule ends with the update; the guard decides between the two.
        instructions = self._engine._INSTRUCTION_MAP
        self._engine._INSTRUCTION_MAP = {**instructions, OptimizerStep: lambda engine: None}

    def _stages(self, model: OpenSeekModel, config: TrainConfig) -> PipelineModule:
        layers = to_layers(model, self.n_micro)
        head = layers[-1]
        assert isinstance(head, Head)
        self._head = head
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how it cuts
            return MODULES[config.parallel.schedule](
                layers=layers,
                num_stages=config.parallel.pipeline,
                loss_fn=head.loss,
                partition_method="uniform",
            )

    @property
    def blocks(self) -> list[Block]:
        """The decoder layers of this rank."""
        return [m for m in self._module.modules() if isinstance(m, Block)]

    def share(self, n_micro: int) -> range:
        """Return this pipeline's micro-batches, the same on all its ranks."""
        pipeline = self._module._grid.get_data_parallel_id()
        return range(pipeline, n_micro, self.pipelines)

    def run(self, micro_batches: Iterable[MicroBatch], sums: Accumulator) -> None:
        """Run all micro-batches of a step; each rank adds what it knows of the losses."""
        stream = [((m.tokens_BT, m.doc_BT), (m.labels_BT, m.category_B)) for m in micro_batches]
        self._engine.train_batch(iter(stream))
        for mean, token_loss_BT, labels_BT, category_B in self._head.take_losses():
            output = ModelOutput(loss=mean, parts={"ce": mean}, token_loss_BT=token_loss_BT)
            sums.add(output, labels_BT, category_B)
        self._add_router_losses(sums)

    def _add_router_losses(self, sums: Accumulator) -> None:
        """Add the losses of this rank's routers; all ranks add the same names."""
        device = self._engine.device
        losses_L2 = [block.take_router_losses().to(device) for block in self.blocks]
        balance, z = sum(losses_L2, torch.zeros(2, device=device))
        weights = self.config.balance
        parts = {"ce": torch.zeros((), device=device)}
        if self._moe:
            parts |= {"balance": balance / len(self._moe), "z": z / len(self._moe)}
        output = ModelOutput(
            loss=weights.seq_aux_weight * balance + weights.z_loss * z,
            parts=parts,
            token_loss_BT=torch.zeros(1, 1, device=device),
        )
        nothing_BT = torch.full((1, 1), IGNORE, device=device)
        sums.add(output, nothing_BT, torch.zeros(1, dtype=torch.long))

    def _end_step(self) -> None:
        self._take_step()

    def balance(self, rate: float) -> dict[str, Tensor]:
        """Move this rank's router biases, and tell all ranks the load of all layers."""
        if not self._moe:
            return {}
        rows = [self._moe.index(n) for n, m in self.model.named_modules() if isinstance(m, MoE)]
        whole_LE = torch.zeros(
            len(self._moe), self.config.n_routed_experts, dtype=torch.int64,
            device=self._engine.device,
        )  # fmt: skip

        def add_up(counts_LE: Tensor) -> None:
            whole_LE[rows] = counts_LE
            torch.distributed.all_reduce(whole_LE)
            counts_LE.copy_(whole_LE[rows])

        if rows:
            update_router_biases(self.model, rate, add_up)
        else:
            torch.distributed.all_reduce(whole_LE)
        return dict(zip(self._moe, whole_LE.cpu(), strict=True))

    def bias_ranges(self) -> dict[str, list[float]]:
        """Return the lowest and highest router bias of all layers; a collective."""
        if not self._moe:
            return {}
        both_L2 = torch.zeros(len(self._moe), 2, device=self._engine.device)
        if self._module._grid.get_data_parallel_id() == 0:
            for name, values in bias_ranges(self.model).items():
                both_L2[self._moe.index(name)] = torch.tensor(values, device=both_L2.device)
        torch.distributed.all_reduce(both_L2)
        return dict(zip(self._moe, both_L2.tolist(), strict=True))

    def full_masters(self) -> Iterator[tuple[str, Tensor]]:
        """Gather the fp32 weights behind each parameter on rank 0; a collective."""
        return self._gather(safe_get_full_fp32_param)

    def full_moments(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Gather `exp_avg` or `exp_avg_sq` of each parameter on rank 0; a collective."""
        return self._gather(lambda p: safe_get_full_optimizer_state(p, key))

    def full_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Gather the router biases of all layers on rank 0; a collective."""
        names = [n for n in self._saved if n not in set(self._parameters)]
        held = dict(self.model.named_buffers())
        return self._gathering.on_first_rank(names, held, lambda buffer: buffer)

    def _gather(self, value_of: Callable[[Tensor], Tensor]) -> Iterator[tuple[str, Tensor]]:
        held: dict[str, Tensor] = dict(self.model.named_parameters())
        return self._gathering.on_first_rank(self._parameters, held, value_of)


def check_model(model: ModelConfig, config: TrainConfig) -> None:
    """Refuse a model that this pipeline cannot run.

    Raises:
        ConfigError: Says what about it, and what to change.
    """
    if obstacle := pipeline_obstacle(model, config.parallel):
        where, what, mend = obstacle
        raise ConfigError(what, where=where, mend=f"{mend[0].upper()}{mend[1:]}.")
