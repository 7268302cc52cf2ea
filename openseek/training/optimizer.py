"""AdamW, and Muon beside it, that ask before they update.

DeepSpeed reduces the gradients, computes their global norm and clips them inside its own `step`,
and then calls the optimizer it wraps. Asking there is the one moment at which the norm is known
and nothing has been changed yet, for every ZeRO stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.optim.adamw import adamw

from openseek.config.training import OptimizerConfig
from openseek.training.muon import Fragment, is_hidden_matrix, muon_step, n_blocks

FIRST, SECOND = "exp_avg", "exp_avg_sq"
BLOCK_CPU = 1 << 18  # weights updated at once with moments in bf16: 4 MB stay in a core's cache
BLOCK_DEVICE = 1 << 26


class GuardedAdamW(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) by torch's own kernel, with a veto and state from the start.

    torch.optim.AdamW computes the same; its `step` imports torch's compiler, though (3 s).

    Args:
        groups: Parameter groups, each with its `weight_decay`.
        config: Betas, epsilon, kernel.
    """

    veto: Callable[[], bool] | None = None
    """Called before each update; True leaves weights and moments as they are."""

    def __init__(self, groups: Sequence[dict[str, Any]], config: OptimizerConfig) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.config = config
        self.fragments: Callable[[torch.Tensor, dict[str, Any]], list[Fragment]] = whole_fragments

    def ensure_state(self, parameters: Iterable[torch.Tensor]) -> None:
        """Create zero moments for the tensors that will be updated."""
        only_first = {id(p) for g in self.param_groups if g.get("muon") for p in g["params"]}
        for p in parameters:
            dtype = torch.bfloat16 if self.config.moments == "bf16" else p.dtype
            keys = (FIRST,) if id(p) in only_first else (FIRST, SECOND)
            self.state[p] = {"step": torch.zeros((), dtype=torch.float32, device=p.device)} | {
                key: torch.zeros_like(p, dtype=dtype, memory_format=torch.preserve_format)
                for key in keys
            }

    def set_count(self, count: int) -> None:
        """Set the number of updates made so far, for the correction of the moments' bias."""
        for state in self.state.values():
            state["step"].fill_(count)

    def count(self) -> int:
        """Return the number of updates made so far."""
        return max(int(s["step"].item()) for s in self.state.values() if s)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make one update, unless it is vetoed."""
        if self.veto is not None and self.veto():
            return
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group.get("muon"):
                self._muon(group, parameters)
            else:
                self._adamw(group, parameters)

    def _muon(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        for p in parameters:
            state = self.state[p]
            state["step"] += 1
            momentum = state[FIRST].to(p.dtype)
            muon_step(
                p,
                cast(torch.Tensor, p.grad),
                momentum,
                self.fragments(p, group),
                lr=group["lr"],
                beta=self.config.momentum,
                weight_decay=group["weight_decay"],
            )
            if momentum is not state[FIRST]:
                state[FIRST].copy_(momentum)

    def _adamw(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        grads = [cast(torch.Tensor, p.grad) for p in parameters]
        states = [self.state[p] for p in parameters]
        if self.config.moments == "bf16":
            for p, grad, state in zip(parameters, grads, states, strict=True):
                self._adamw_in_blocks(group, p, grad, state)
            return
        firsts, seconds = ([s[key] for s in states] for key in (FIRST, SECOND))
        self._kernel(group, parameters, grads, firsts, seconds, [s["step"] for s in states])

    def _adamw_in_blocks(
        self, group: dict[str, Any], p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any]
    ) -> None:
        """Update with moments in bf16: a block of them at a time becomes fp32 and back."""
        flat, flat_grad = p.view(-1), grad.view(-1)
        moments = [state[key].view(-1) for key in (FIRST, SECOND)]
        size = BLOCK_CPU if p.device.type == "cpu" else BLOCK_DEVICE
        for start in range(0, flat.numel(), size):
            part = slice(start, start + size)
            exact = [m[part].to(p.dtype) for m in moments]
            self._kernel(group, [flat[part]], [flat_grad[part]], [exact[0]], [exact[1]],
                         [state["step"].clone()])  # fmt: skip
            for kept, new in zip(moments, exact, strict=True):
                kept[part].copy_(new)
        state["step"] += 1

    def _kernel(
        self,
        group: dict[str, Any],
        parameters: list[torch.Tensor],
        grads: list[torch.Tensor],
        firsts: list[torch.Tensor],
        seconds: list[torch.Tensor],
        steps: list[torch.Tensor],
    ) -> None:
        adamw(
            parameters,
            grads,
            firsts,
            seconds,
            [],
            steps,
            fused=self.config.fused,
            amsgrad=False,
            beta1=self.config.beta1,
            beta2=self.config.beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self.config.eps,
            maximize=False,
        )


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]],
    config: OptimizerConfig,
    *,
    group_weights: int | None = None,
) -> GuardedAdamW:
    """Build AdamW with weight decay for matrices only; Muon moves hidden matrices, if asked for.

    Args:
        named: The model's parameters with their names.
        config: Kind, betas, epsilon, weight decay.
        group_weights: Weights of a group at most (a larger parameter is a group of its own);
            None: no limit. DeepSpeed copies the gradients of a group at a time and then drops
            them, so the largest groups come last, when least else is held.
    """
    groups: dict[tuple[bool, bool, str], list[tuple[str, nn.Parameter]]] = {}
    for name, p in named:
        if p.requires_grad:
            muon = config.kind == "muon" and is_hidden_matrix(name, p)
            key = (p.ndim < 2, muon, getattr(p, "group_name", ""))
            groups.setdefault(key, []).append((name, p))
    found: list[dict[str, Any]] = []
    for key in sorted(groups):
        vector, muon, experts = key
        for members in _cut(groups[key], group_weights):
            group: dict[str, Any] = {
                "params": [p for _, p in members],
                "weight_decay": 0.0 if vector else config.weight_decay,
            }
            if experts:  # DeepSpeed's name for parameters that not all ranks share
                group |= {"moe": True, "name": experts}
            if muon:
                group |= {"muon": True, "names": [name for name, _ in members]}
            found.append(group)
    return GuardedAdamW(found, config)


def _cut(
    members: list[tuple[str, nn.Parameter]], limit: int | None
) -> list[list[tuple[str, nn.Parameter]]]:
    """Cut a list of parameters into runs of at most `limit` weights, smaller ones first."""
    if limit is None:
        return [members]
    runs: list[list[tuple[str, nn.Parameter]]] = [[]]
    size = 0
    for name, p in sorted(members, key=lambda m: m[1].numel()):
        if runs[-1] and size + p.numel() > limit:
            runs.append([])
            size = 0
        runs[-1].append((name, p))
        size += p.numel()
    return runs


def whole_fragments(p: torch.Tensor, group: dict[str, Any]) -> list[Fragment]:
    """Describe a parameter that this process owns whole."""
    number = next(i for i, q in enumerate(group["params"]) if q is p)
    return [
        Fragment(p.shape, n_blocks(group["names"][number]), 0, 0, p.numel(), lambda whole: whole)
    ]
