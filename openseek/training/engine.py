"""The only file that knows DeepSpeed's engine.

`TrainEngine` holds a model, its optimizer and the way they are spread over ranks, and offers what
the loop needs: accumulate a micro-batch, update or skip, and read or write the full state by
parameter name, independent of the number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from openseek.config.training import TrainConfig
from openseek.training.compiling import compile_layers
from openseek.training.ds_config import build_ds_config
from openseek.training.expert_parallel import ExpertGroup
from openseek.training.muon import Fragment, is_hidden_matrix, n_blocks
from openseek.training.optimizer import FIRST, SECOND, build_optimizer

MOMENTS = (FIRST, SECOND)


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


class TrainEngine:
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
        self._inner = build_optimizer(model.named_parameters(), config.optimizer)
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

    def update(self, lr: float, accept: Callable[[float], bool]) -> tuple[float, bool]:
        """End the step: reduce, clip, and update unless the gradient's norm is not accepted.

        Args:
            lr: Learning rate of this update.
            accept: Decides by the global gradient norm before clipping; called once at most.

        Returns:
            The norm (-1 when the gradient holds NaN or Inf), and whether weights were updated.
        """
        verdict: list[bool] = []

        def veto() -> bool:
            if not verdict:  # a ZeRO step calls the optimizer once for each parameter group
                verdict.append(accept(self._norm()))
            return not verdict[0]

        for group in self._inner.param_groups:
            group["lr"] = lr
        self._inner.veto = veto
        self._engine.step()
        self._inner.veto = None
        if not verdict:  # DeepSpeed itself found NaN or Inf and left out the optimizer
            accept(-1.0)
            return -1.0, False
        return self._norm(), verdict[0]

    def _norm(self) -> float:
        # The outer optimizer has it before the engine passes it on, which is when it is needed.
        norm = float(self._outer._global_grad_norm)
        return norm if math.isfinite(norm) else -1.0

    @property
    def updates(self) -> int:
        """Updates made so far, over all stages (Adam's step)."""
        return self._inner.count()

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

    def set_moment(self, name: str, key: str, value: torch.Tensor) -> None:
        """Set `exp_avg` or `exp_avg_sq` of a parameter from its full value, on every rank."""
        from deepspeed.utils import safe_set_full_optimizer_state

        p = self.model.get_parameter(name)
        safe_set_full_optimizer_state(p, self._part(name, value).to(p.device), key)

    def set_master(self, name: str, value: torch.Tensor) -> None:
        """Set the fp32 weights behind a parameter from their full value, on every rank."""
        from deepspeed.utils import safe_set_full_fp32_param

        p = self.model.get_parameter(name)
        safe_set_full_fp32_param(p, self._part(name, value).to(p.device))

    def set_updates(self, count: int) -> None:
        """Set the number of updates made so far."""
        self._inner.set_count(count)

    def close(self) -> None:
        """Release DeepSpeed's hooks and buffers."""
        self._engine.destroy()

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
