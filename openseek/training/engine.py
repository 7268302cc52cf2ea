"""The only file that knows DeepSpeed's engine.

`TrainEngine` holds a model, its optimizer and the way they are spread over ranks, and offers what
the loop needs: accumulate a micro-batch, update or skip, and read or write the full state by
parameter name, independent of the number of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from openseek.config.training import TrainConfig
from openseek.training.ds_config import build_ds_config
from openseek.training.optimizer import build_optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")


class _LossOnly(nn.Module):
    """Hand DeepSpeed the loss alone and keep the rest of the model's output.

    DeepSpeed prepares the backward pass in hooks on the tensors of a module's output, and does not
    look into a dataclass. Without them bf16 gradients of earlier micro-batches count again, and
    ZeRO 3 misses the weights that are used outside of their own module (the output layer).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
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

        self.model = model
        self.world_size = world_size
        self._wrapped = _LossOnly(model)
        self._inner = build_optimizer(model.named_parameters(), config.optimizer)
        self._engine, self._outer, _, _ = deepspeed.initialize(
            model=self._wrapped,
            optimizer=self._inner,
            config=build_ds_config(config, world_size),
            dist_init_required=False,
        )
        # DeepSpeed makes moments, and maps them to parameters, at the first update; a checkpoint
        # is loaded before it.
        if config.zero_stage == 3:
            self._inner.ensure_state(self._outer.fp32_partitioned_groups_flat)
        else:
            self._inner.ensure_state(p for g in self._inner.param_groups for p in g["params"])
            self._outer._lazy_init_hp_params_optimizer_state()

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

    def full_moments(self, key: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Gather `exp_avg` or `exp_avg_sq` of each parameter; a collective over all ranks."""
        from deepspeed.utils import safe_get_full_optimizer_state

        for name, p in self._trainable():
            yield name, safe_get_full_optimizer_state(p, key)

    def full_masters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Gather the fp32 weights behind each parameter; a collective over all ranks."""
        from deepspeed.utils import safe_get_full_fp32_param

        for name, p in self._trainable():
            yield name, safe_get_full_fp32_param(p)

    def set_moment(self, name: str, key: str, value: torch.Tensor) -> None:
        """Set `exp_avg` or `exp_avg_sq` of a parameter from its full value, on every rank."""
        from deepspeed.utils import safe_set_full_optimizer_state

        p = self.model.get_parameter(name)
        safe_set_full_optimizer_state(p, value.to(p.device), key)

    def set_master(self, name: str, value: torch.Tensor) -> None:
        """Set the fp32 weights behind a parameter from their full value, on every rank."""
        from deepspeed.utils import safe_set_full_fp32_param

        p = self.model.get_parameter(name)
        safe_set_full_fp32_param(p, value.to(p.device))

    def set_updates(self, count: int) -> None:
        """Set the number of updates made so far."""
        self._inner.set_count(count)

    def close(self) -> None:
        """Release DeepSpeed's hooks and buffers."""
        self._engine.destroy()

    def _trainable(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
