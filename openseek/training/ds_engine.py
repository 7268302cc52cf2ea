"""What engines of a whole model and of a pipeline have in common: the update and the state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from openseek.training.batches import MicroBatch
from openseek.training.figures import Accumulator
from openseek.training.optimizer import FIRST, SECOND, GuardedAdamW

MOMENTS = (FIRST, SECOND)


class Engine(ABC):
    """A model under DeepSpeed, as the loop and checkpoints see it.

    Attributes:
        model: What this rank holds of the model, under the model's names.
        replica_group: Ranks that hold the same parameters; None: all.
    """

    model: nn.Module
    replica_group: Any = None
    _engine: Any
    _inner: GuardedAdamW
    _outer: Any

    @abstractmethod
    def share(self, n_micro: int) -> range:
        """Return which micro-batches of a step this rank takes."""

    @abstractmethod
    def run(self, micro_batches: Iterable[MicroBatch], sums: Accumulator) -> None:
        """Run this rank's micro-batches of a step forward and backward; a collective."""

    @abstractmethod
    def balance(self, rate: float) -> dict[str, Tensor]:
        """Move all router biases by the load since the last call; a collective.

        Args:
            rate: Size of a move; 0 only resets the counts.

        Returns:
            The load of each expert over all ranks, by layer, on every rank.
        """

    @abstractmethod
    def bias_ranges(self) -> dict[str, list[float]]:
        """Return the lowest and highest router bias by layer; a collective."""

    @abstractmethod
    def full_masters(self) -> Iterator[tuple[str, Tensor]]:
        """Gather the fp32 weights behind each parameter, at least on rank 0; a collective.

        A value is a tensor of its own, which the engine does not change later.
        """

    @abstractmethod
    def full_moments(self, key: str) -> Iterator[tuple[str, Tensor]]:
        """Gather `exp_avg` or `exp_avg_sq` likewise."""

    @abstractmethod
    def full_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Give what else is saved (router biases), at least on rank 0; a collective."""

    @abstractmethod
    def _end_step(self) -> None:
        """Have DeepSpeed reduce, clip and call the optimizer."""

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
        self._end_step()
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

    def set_updates(self, count: int) -> None:
        """Set the number of updates made so far."""
        self._inner.set_count(count)

    def moments_of(self, name: str) -> tuple[str, ...]:
        """Return which moments the optimizer keeps of a parameter."""
        return MOMENTS

    def set_moment(self, name: str, key: str, value: Tensor) -> None:
        """Set `exp_avg` or `exp_avg_sq` of a parameter held here from its full value."""
        from deepspeed.utils import safe_set_full_optimizer_state

        p = self.model.get_parameter(name)
        safe_set_full_optimizer_state(p, self._part(name, value).to(p.device), key)

    def set_master(self, name: str, value: Tensor) -> None:
        """Set the fp32 weights behind a parameter held here from their full value."""
        from deepspeed.utils import safe_set_full_fp32_param

        p = self.model.get_parameter(name)
        safe_set_full_fp32_param(p, self._part(name, value).to(p.device))

    def close(self) -> None:
        """Release DeepSpeed's hooks and buffers."""
        self._engine.destroy()

    def _part(self, name: str, value: Tensor) -> Tensor:
        """Return what this rank holds of a parameter's full value."""
        return value
