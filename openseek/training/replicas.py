"""Compare what must be equal on all ranks, bit by bit: weights, router biases, rotary tables.

Memory that flips a bit, or a collective that returns something else on one rank, does no harm that
a loss would show at once. Weights are compared after the backward pass and before the update, for
with ZeRO the update writes them anew from one rank's master copy: what is compared is what this
step's gradient was computed with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from openseek.errors import TrainingError

_CHUNK = 1 << 22  # elements widened to int64 at a time: 32 MB
_INT = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_OWN = ("tokens_per_expert",)  # counts of one rank's tokens


def checksum(x: Tensor) -> Tensor:
    """Digest a tensor's bits: [2] int64, on its device.

    The sum of the values read as integers and the same with weights by position, both modulo 2^64:
    any single changed value shows, as do values that changed places.
    """
    words = x.detach().contiguous().view(_INT[x.element_size()]).flatten()
    sums = torch.zeros(2, dtype=torch.int64, device=x.device)
    for start in range(0, words.numel(), _CHUNK):
        part = words[start : start + _CHUNK].long()
        weights = torch.arange(start, start + part.numel(), device=x.device) * 2 + 1
        sums += torch.stack([part.sum(), (part * weights).sum()])
    return sums


def replicated(model: nn.Module, *, sharded: bool) -> Iterator[tuple[str, Tensor]]:
    """List what every rank holds a copy of.

    Args:
        model: The model of this rank.
        sharded: Weights are spread over the ranks (ZeRO 3): buffers only.
    """
    for name, parameter in model.named_parameters():
        # Experts spread over ranks (expert parallelism) are marked like this by DeepSpeed.
        if not sharded and getattr(parameter, "allreduce", True):
            yield name, parameter
    for name, buffer in model.named_buffers():
        if not name.endswith(_OWN):
            yield name, buffer


def check_replicas(
    model: nn.Module, step: int, device: torch.device, *, sharded: bool, group: Any = None
) -> None:
    """Compare the ranks' copies; a collective, and nothing on one rank alone.

    Args:
        model: The model of this rank.
        step: Optimizer step, for the error.
        device: Where the process group's tensors live.
        sharded: As in `replicated`.
        group: Ranks to compare; None: all.

    Raises:
        TrainingError: They differ; on every rank, with ranks, parameter and step.
    """
    world_size = torch.distributed.get_world_size(group)
    named = list(replicated(model, sharded=sharded))
    if world_size == 1 or not named:
        return
    mine_P2 = torch.stack([checksum(x).to(device) for _, x in named])
    all_RP2 = torch.empty(world_size, *mine_P2.shape, dtype=mine_P2.dtype, device=device)
    torch.distributed.all_gather(list(all_RP2.unbind()), mine_P2, group=group)
    odd = _odd_ranks(all_RP2.cpu())
    if not odd:
        return
    first = min(odd)
    numbers = torch.distributed.get_process_group_ranks(group)
    ranks = sorted({numbers[r] for found in odd.values() for r in found})
    others = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    raise TrainingError(
        f"rank {', '.join(map(str, ranks))} holds another {named[first][0]!r}{others} than "
        f"{f'rank {numbers[0]}' if world_size == 2 else 'most ranks'} at step {step}",
        where=f"comparison of {world_size} ranks",
        mend="Memory or a network link may corrupt data. Test the machine of that rank"
        + (" (of two ranks either may be the bad one)" if world_size == 2 else "")
        + "; started again, training goes on from the last checkpoint.",
    )


def _odd_ranks(sums_RP2: Tensor) -> dict[int, list[int]]:
    """Return parameter index -> ranks that do not agree with most (in a tie with the first)."""
    odd = {}
    for index in (sums_RP2 != sums_RP2[:1]).any(dim=2).any(dim=0).nonzero().flatten().tolist():
        votes = [tuple(row) for row in sums_RP2[:, index].tolist()]
        most = max(votes, key=votes.count)
        odd[index] = [rank for rank, vote in enumerate(votes) if vote != most]
    return odd
