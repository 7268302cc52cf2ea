"""Tensors that are spread over ranks by name, brought to rank 0 one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


class Gathering:
    """Who holds which tensor; making one is a collective.

    Args:
        shapes: All tensors of the model.
        held: Names of those on this rank.
        device: Where the process group's tensors live.
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], held: Iterable[str], device: torch.device
    ) -> None:
        everybody: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everybody, sorted(held))
        self._shapes = shapes
        self._device = device
        self._owner: dict[str, int] = {}
        for rank, names in enumerate(everybody):
            for name in names:
                self._owner.setdefault(name, rank)

    def on_first_rank(
        self,
        names: Iterable[str],
        held: Mapping[str, Tensor],
        value_of: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[str, Tensor]]:
        """Give each tensor's value on rank 0, and nothing on the others; a collective.

        Args:
            names: What to gather, in an order that all ranks share.
            held: What this rank holds of it.
            value_of: Makes the fp32 value to send; may be a collective of the ranks that hold it.
        """
        rank = torch.distributed.get_rank()
        for name in names:
            owner = self._owner[name]
            if name in held:
                value = value_of(held[name]).to(self._device, torch.float32).contiguous()
                if rank == owner == 0:
                    yield name, value
                elif rank == owner:
                    torch.distributed.send(value, 0)
            if rank == 0 != owner:
                received = torch.empty(self._shapes[name], device=self._device)
                torch.distributed.recv(received, owner)
                yield name, received
