"""The router, the routed and shared experts, and what keeps their load even.

Names of children and parameters (`gate.weight`, `gate.e_score_correction_bias`,
`experts.gate_up_proj`, `experts.down_proj`, `shared_experts`) are those that DeepSpeed's AutoEP
looks for, so that expert parallelism can replace the whole layer.

Shapes: B batch, T positions, S = B * T tokens, D hidden, E experts, F expert width, K choices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openseek.config.model import ModelConfig
from openseek.model.expert_kernels import KERNELS, plan
from openseek.model.layers import SwiGLU


class Routing(NamedTuple):
    """The router's decision."""

    weights_SK: Tensor
    experts_SK: Tensor
    scores_SE: Tensor
    logits_SE: Tensor


class RouterStats(NamedTuple):
    """What a MoE layer reports beside its output: two losses and the load."""

    balance: Tensor
    z: Tensor
    counts_E: Tensor


class Router(nn.Module):
    """Sigmoid router with a correction bias that steers selection, never the weights.

    Selection: the top-k of `score + bias` among the experts of the best groups, a group's rank
    being the sum of its two best. Weights: the plain scores of the chosen, normalised and scaled.

    Source: DeepSeek-V3 (arXiv 2412.19437), sections 2.1.2 and 3.1.
    """

    e_score_correction_bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))
        self.top_k, self.scale = config.num_experts_per_tok, config.routed_scaling_factor
        self.groups, self.top_groups = config.n_group, config.topk_group
        self.normalise = config.norm_topk_prob

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        exact = self.e_score_correction_bias
        super()._apply(fn, recurse)
        # Steps of 1e-3 vanish in bf16: whatever type the module is cast to, the bias stays fp32.
        moved = self.e_score_correction_bias
        if moved.dtype != torch.float32:
            kept = moved.float() if moved.is_meta else exact.to(moved.device, torch.float32)
            self.e_score_correction_bias = kept
        return self

    def forward(self, x_SD: Tensor) -> Routing:
        """Choose experts and weights for each token, all in fp32."""
        logits_SE = F.linear(x_SD.float(), self.weight.float())
        scores_SE = logits_SE.sigmoid()
        with torch.no_grad():
            choice_SE = scores_SE + self.e_score_correction_bias
            if self.groups > 1:
                choice_SE = self._limit_groups(choice_SE)
            experts_SK = choice_SE.topk(self.top_k, dim=-1, sorted=False).indices
        weights_SK = scores_SE.gather(1, experts_SK)
        if self.normalise:
            weights_SK = weights_SK / (weights_SK.sum(dim=-1, keepdim=True) + 1e-20)
        return Routing(weights_SK * self.scale, experts_SK, scores_SE, logits_SE)

    @torch.no_grad()
    def margin(self, x_SD: Tensor) -> Tensor:
        """Return for each token how far its choice of experts and groups is from another one."""
        scores_SE = F.linear(x_SD.float(), self.weight.float()).sigmoid()
        choice_SE = scores_SE + self.e_score_correction_bias
        margin_S = torch.full_like(choice_SE[:, 0], float("inf"))
        if self.groups > self.top_groups:
            rank_SG = _group_rank(choice_SE, self.groups)
            margin_S = torch.minimum(margin_S, _gap(rank_SG, self.top_groups))
        if self.groups > 1:
            choice_SE = self._limit_groups(choice_SE)
        if self.top_k < choice_SE.shape[1]:
            margin_S = torch.minimum(margin_S, _gap(choice_SE, self.top_k))
        return margin_S

    def _limit_groups(self, choice_SE: Tensor) -> Tensor:
        grouped_SGE = choice_SE.view(choice_SE.shape[0], self.groups, -1)
        rank_SG = _group_rank(choice_SE, self.groups)
        best = rank_SG.topk(self.top_groups, dim=-1, sorted=False).indices
        closed_SG = torch.ones_like(rank_SG, dtype=torch.bool).scatter_(1, best, False)
        # -inf, not 0: biased scores may be negative, and 0 would then win.
        return grouped_SGE.masked_fill(closed_SG.unsqueeze(-1), float("-inf")).flatten(1)


def _group_rank(choice_SE: Tensor, groups: int) -> Tensor:
    grouped_SGE = choice_SE.view(choice_SE.shape[0], groups, -1)
    return grouped_SGE.topk(2, dim=-1).values.sum(dim=-1)


def _gap(values: Tensor, k: int) -> Tensor:
    best = values.topk(k + 1, dim=-1).values
    return best[:, k - 1] - best[:, k]


class Experts(nn.Module):
    """All routed experts of a layer in two 3-D parameters."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, f = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(e, 2 * f, d))
        self.down_proj = nn.Parameter(torch.empty(e, d, f))
        self.kernel = KERNELS[config.experts]

    def forward(
        self, x_SD: Tensor, experts_SK: Tensor, weights_SK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of each token's experts, and the rows of each expert."""
        p = plan(experts_SK, self.gate_up_proj.shape[0])
        y_SD = self.kernel(x_SD, weights_SK, self.gate_up_proj, self.down_proj, p)
        return y_SD, p.counts_E


class MoE(nn.Module):
    """Routed experts plus shared ones."""

    tokens_per_expert: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        if config.n_shared_experts:
            width = config.moe_intermediate_size * config.n_shared_experts
            self.shared_experts = SwiGLU(config.hidden_size, width)
        self.has_shared = config.n_shared_experts > 0
        counts = torch.zeros(config.n_routed_experts, dtype=torch.int64)
        self.register_buffer("tokens_per_expert", counts, persistent=False)

    def forward(self, x_BTD: Tensor) -> tuple[Tensor, RouterStats]:
        """Return the layer's output and the router's losses and load."""
        x_SD = x_BTD.flatten(0, 1)
        routing = self.gate(x_SD)
        y_SD, counts_E = self.experts(x_SD, routing.experts_SK, routing.weights_SK)
        y_BTD = y_SD.view_as(x_BTD)
        if self.has_shared:
            y_BTD = y_BTD + self.shared_experts(x_BTD)
        balance = sequence_balance_loss(routing.scores_SE, routing.experts_SK, x_BTD.shape[0])
        z = routing.logits_SE.logsumexp(dim=-1).square().mean()
        return y_BTD, RouterStats(balance, z, counts_E)


def sequence_balance_loss(scores_SE: Tensor, experts_SK: Tensor, sequences: int) -> Tensor:
    """Penalise load that is uneven within a sequence: `mean over sequences of sum_e f_e * P_e`.

    `f_e` is the share of the sequence's choices that went to expert e times E, `P_e` the mean of
    its normalised scores; 1 for perfect balance.

    Source: DeepSeek-V3 (arXiv 2412.19437), equations 17 to 20.
    """
    choices, n_experts = experts_SK.shape[1], scores_SE.shape[1]
    scores_BTE = scores_SE.view(sequences, -1, n_experts)
    share_BTE = scores_BTE / (scores_BTE.sum(dim=-1, keepdim=True) + 1e-20)
    experts_BM = experts_SK.view(sequences, -1)
    counts_BE = torch.zeros(sequences, n_experts, device=scores_SE.device)
    counts_BE.scatter_add_(1, experts_BM, torch.ones_like(experts_BM, dtype=torch.float32))
    load_BE = counts_BE * (n_experts / (choices * scores_BTE.shape[1]))
    return (load_BE * share_BTE.mean(dim=1)).sum(dim=-1).mean()
