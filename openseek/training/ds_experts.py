"""Tell DeepSpeed which parameters are experts, and of which ranks.

DeepSpeed reduces, partitions and clips the gradients of parameters that carry these marks over the
ranks that hold the same experts, in every ZeRO stage. It looks for such parameters only if the
model has a layer of its own kind; `_ExpertsMarker` is one without any weights.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed.module_inject.auto_ep_layer import AutoEPMoELayer
from deepspeed.utils import groups
from torch import nn

from openseek.training.expert_parallel import ExpertGroup, shard_experts


class _ExpertsMarker(AutoEPMoELayer):
    """A module without weights that makes DeepSpeed expect expert parameters.

    Args:
        n_experts: Routed experts of a layer.
    """

    def __init__(self, n_experts: int) -> None:
        nn.Module.__init__(self)
        self.num_experts = n_experts

    def set_deepspeed_parallelism(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: groups exist already."""


def spread_experts(
    model: nn.Module, n_experts: int, size: int
) -> tuple[ExpertGroup, set[str], nn.Module]:
    """Share the experts of a model between `size` neighbouring ranks; a collective.

    Args:
        model: The whole model, the same on all ranks.
        n_experts: Routed experts of a layer.
        size: Ranks that share one set of experts; divides experts and ranks.

    Returns:
        This rank's group, the names of the parameters that are now parts, and a module that must
        be part of what DeepSpeed gets.
    """
    name = f"ep_size_{size}"
    if name not in groups._get_expert_parallel_group_dict():
        groups._create_expert_and_data_parallel(size)
    process_group = groups._get_expert_parallel_group(name)
    group = ExpertGroup(process_group, torch.distributed.get_rank(process_group), size)
    parts = set()
    for parameter_name, parameter in shard_experts(model, group):
        marks = {
            "allreduce": False,
            "group_name": name,
            "ds_zero_placement_family": "autoep_expert",
            "ds_zero_partition_group_name": name,
        }
        for key, value in marks.items():
            setattr(parameter, key, value)
        parts.add(parameter_name)
    return group, parts, _ExpertsMarker(n_experts)
