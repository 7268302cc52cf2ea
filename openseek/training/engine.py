"""A whole model under DeepSpeed's engine; `ds_pipeline` has one cut into stages.

`TrainEngine` holds a model, its optimizer and the way they are spread over ranks, and offers what
the loop needs: accumulate a micro-batch, update or skip, and read or write the full state by
parameter name, independent of the number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from openseek.config.training import TrainConfig
from openseek.model import update_router_biases
from openseek.training.batches import MicroBatch
from openseek.training.compiling import compile_layers
from openseek.training.ds_config import GROUP_WEIGHTS, build_ds_config
from openseek.training.ds_engine import MOMENTS, Engine
from openseek.training.expert_parallel import ExpertGroup
from openseek.training.figures import Accumulator, bias_ranges
from openseek.training.muon import Fragment, is_hidden_matrix, n_blocks
from openseek.training.optimizer import FIRST, build_optimizer


class _LossOnly(nn.Module):
    """Hand DeepSpeed the loss alone and keep the rest of the model's output.

    DeepSpeed prepares the backward pass in hooks on the tensors of a module's output, and does not
    look into a dataclass. Without them bf16 gradients of earlier micro-batches count again, and
    ZeRO 3 misses the weights that are used outside of their own module (the output layer).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.marker: nn.Module | None = None
        self.output: Any = None

    def forward(self, **batch: Any) -> torch.Tensor:
        self.output = self.model.forward(**batch)  # not through __call__, where the hooks are
        return self.output.loss


class TrainEngine(Engine):
    """A model under DeepSpeed.

    Args:
        model: The model, with its initial weights on every rank.
        config: How to train.
        world_size: Number of ranks; the process group exists already.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, world_size: int) -> None:
        import deepspeed

        ds_config = build_ds_config(config, world_size)
        self.model = model
        self.world_size = world_size
        self._wrapped = _LossOnly(model)
        self._expert_group: ExpertGroup | None = None
        self._parts: set[str] = set()
        if config.parallel.expert_parallel > 1:
            self._spread_experts(config.parallel.expert_parallel)
        if config.compile:
            compile_layers(model)
        limit = GROUP_WEIGHTS if config.gradients == "bf16" else None
        self._inner = build_optimizer(
            model.named_parameters(), config.optimizer, group_weights=limit
        )
        self._engine, self._outer, _, _ = deepspeed.initialize(
            model=self._wrapped,
            optimizer=self._inner,
            config=ds_config,
            dist_init_required=False,
        )
        self._inner.fragments = self._fragments
        # DeepSpeed makes moments, and maps them to parameters, at the first update; a checkpoint
        # is loaded before it.
        if config.zero_stage == 3:
            self._inner.ensure_state(self._outer.fp32_partitioned_groups_flat)
        else:
            self._inner.ensure_state(p for g in self._inner.param_groups for p in g["params"])
            self._outer._lazy_init_hp_params_optimizer_state()

    def _spread_experts(self, size: int) -> None:
        from openseek.training.ds_experts import spread_experts

        n_experts: int = vars(self.model)["config"].n_routed_experts
        group, self._parts, self._wrapped.marker = spread_experts(self.model, n_experts, size)
        self._expert_group = group

    def accumulate(self, **batch: Any) -> Any:
        """Run a micro-batch forward and backward and return the model's output."""
        loss = self._engine(**batch)
        self._engine.backward(loss)
        output, self._wrapped.output = self._wrapped.output, None
        return output

    def micro_step(self) -> None:
        """Tell the engine that a micro-batch, not the last one of its step, is done."""
        self._engine.step()

    def _end_step(self) -> None:
        self._engine.step()

    def share(self, n_micro: int) -> range:
        """Return every `world_size`-th micro-batch."""
        return range(torch.distributed.get_rank(), n_micro, self.world_size)

    def run(self, micro_batches: Iterable[MicroBatch], sums: Accumulator) -> None:
        """Run micro-batches forward and backward, one after the other."""
        for number, micro in enumerate(micro_batches):
            if number:
                self.micro_step()
            output = self.accumulate(
                tokens_BT=micro.tokens_BT, labels_BT=micro.labels_BT, doc_BT=micro.doc_BT
            )
            sums.add(output, micro.labels_BT, micro.category_B)

    def balance(self, rate: float) -> dict[str, torch.Tensor]:
        """Move router biases by the load of all ranks; a collective."""
        return update_router_biases(self.model, rate, torch.distributed.all_reduce)

    def bias_ranges(self) -> dict[str, list[float]]:
        """Return the lowest and highest router bias by layer."""
        return bias_ranges(self.model)

    def moments_of(self, name: str) -> tuple[str, ...]:
        """Return which moments the optimizer keeps of a parameter."""
        p = self.model.get_parameter(name)
        muon = self._inner.config.kind == "muon" and is_hidden_matrix(name, p)
        return (FIRST,) if muon else MOMENTS

    def _fragments(self, flat: torch.Tensor, group: dict[str, Any]) -> list[Fragment]:
        """Describe what a flat buffer of this rank holds of the matrices of a Muon group."""
        found = []
        for name in group["names"]:
            p: Any = self.model.get_parameter(name)
            add_up = partial(torch.distributed.all_reduce, group=p._dp_group)
            start = offset = length = 0
            if p._hp_mapping is not None:
                start = p._hp_mapping.lp_fragment_address.start
                offset = p._hp_mapping.hp_fragment_address.start
                length = p._hp_mapping.hp_fragment_address.numel
            found.append(Fragment(p.shape, n_blocks(name), start, offset, length, add_up))
        return found

    def full_moments(self, key: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Gather `exp_avg` or `exp_avg_sq` of each parameter; a collective over all ranks."""
        from deepspeed.utils import safe_get_full_optimizer_state

        for name, p in self._trainable():
            if key in self.moments_of(name):
                yield name, self._whole(name, safe_get_full_optimizer_state(p, key))

    def full_masters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Gather the fp32 weights behind each parameter; a collective over all ranks."""
        from deepspeed.utils import safe_get_full_fp32_param

        for name, p in self._trainable():
            yield name, self._whole(name, safe_get_full_fp32_param(p))

    def full_buffers(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Give what else is saved: router biases, the same on all ranks."""
        buffers = {name for name, _ in self.model.named_buffers()}
        yield from ((n, b) for n, b in self.model.state_dict().items() if n in buffers)

    def _whole(self, name: str, value: torch.Tensor) -> torch.Tensor:
        if self._expert_group is None or name not in self._parts:
            return value
        return self._expert_group.whole(value)

    def _part(self, name: str, value: torch.Tensor) -> torch.Tensor:
        if self._expert_group is None or name not in self._parts:
            return value
        return self._expert_group.part(value)

    def _trainable(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
