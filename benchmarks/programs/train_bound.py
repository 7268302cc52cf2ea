"""Bound a training step of `train_model.py`: `train_bound.py TYPE`.

Every matrix product of a step is timed alone at its own best, with the operands as a step has
them, and what lies between the products moves each of its bytes once at the measured bandwidth of
one core. A step cannot take less than both together without overlapping them, whatever the code
between the products. The last line is a JSON object: seconds by kind, and the best share of the
GEMM peak.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from train_model import LENGTH, SEQUENCES, SHAPE, gemm_rate

TOKENS = SEQUENCES * LENGTH
TILE, QUERIES = 64, 256  # rows of an expert are a multiple; queries whose scores are held at once
SECONDS, CALLS = 0.25, 3  # for each shape, at least

Product = tuple[str, int, int, int, int]
"""Kind, rows, inner width, columns, and how many of them a step has."""


def products() -> Iterator[Product]:
    """List the projections, experts and the output layer, as they are in the forward pass."""
    d, layers, dense = (
        SHAPE[k] for k in ("hidden_size", "num_hidden_layers", "first_k_dense_replace")
    )
    heads, latent = SHAPE["num_attention_heads"], SHAPE["kv_lora_rank"]
    nope, rope, value = (SHAPE[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    moe, width, experts = (
        layers - dense, SHAPE["moe_intermediate_size"], SHAPE["n_routed_experts"]
    )  # fmt: skip
    yield "projections", TOKENS, d, heads * (nope + rope), layers
    yield "projections", TOKENS, d, latent + rope, layers
    yield "projections", TOKENS, latent, heads * (nope + value), layers
    yield "projections", TOKENS, heads * value, d, layers
    for inner, count in ((SHAPE["intermediate_size"], dense), (width, moe)):
        yield "feed-forward", TOKENS, d, inner, 2 * count
        yield "feed-forward", TOKENS, inner, d, count
    rows = TOKENS * SHAPE["num_experts_per_tok"] // experts
    rows = (rows + TILE - 1) // TILE * TILE
    yield "experts", rows, d, 2 * width, experts * moe
    yield "experts", rows, width, d, experts * moe
    yield "output layer", TOKENS // 2, d, SHAPE["vocab_size"], 2


def elements_between() -> float:
    """Count the values that a step reads or writes between its products, each once."""
    d, layers, dense = (
        SHAPE[k] for k in ("hidden_size", "num_hidden_layers", "first_k_dense_replace")
    )
    heads, latent, rope = (
        SHAPE[k] for k in ("num_attention_heads", "kv_lora_rank", "qk_rope_head_dim")
    )
    nope, value = SHAPE["qk_nope_head_dim"], SHAPE["v_head_dim"]
    rows, width = SHAPE["num_experts_per_tok"], SHAPE["moe_intermediate_size"]
    norms = 5 * (2 * d + latent) + 12 * d  # two ways, and the residual's additions
    split = 4 * heads * (nope + rope) + 4 * heads * (nope + value)
    softmax = 5 * heads * LENGTH / 2
    routed = rows * (10 * d + 8 * width) + 8 * width
    per_token = layers * (norms + split + softmax) + dense * 8 * SHAPE["intermediate_size"]
    per_token += (layers - dense) * routed + 2 * SHAPE["vocab_size"]
    return float(TOKENS * per_token)


def best(call: Callable[[], Any]) -> float:
    """Return the shortest CPU time of a call, in seconds."""
    shortest, end = float("inf"), time.perf_counter() + SECONDS
    calls = 0
    while calls < CALLS or time.perf_counter() < end:
        begin = time.thread_time()
        call()
        shortest = min(shortest, time.thread_time() - begin)
        calls += 1
    return shortest


def time_products(dtype: Any) -> dict[str, float]:
    """Time each product forward and its two gradients; seconds of a step by kind."""
    import torch

    found: dict[str, float] = {}
    for kind, rows, inner, columns, count in products():
        x, w = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        grad = torch.randn(rows, columns).to(dtype)
        turned = grad.t().contiguous()
        calls = {
            "forward": [lambda x=x, w=w: torch.mm(x, w.t())],
            "gradients of inputs": [lambda g=grad, w=w: torch.mm(g, w)],
            "gradients of weights": [
                lambda g=grad, x=x: torch.mm(g.t(), x),
                lambda t=turned, x=x: torch.mm(t, x),
            ],
        }
        for way, forms in calls.items():
            name = f"{kind}, {way}"
            found[name] = found.get(name, 0.0) + count * min(best(c) for c in forms)
    found["attention"] = _attention(dtype)
    return found


def _attention(dtype: Any) -> float:
    """Time the products of scores and values, both ways; seconds of a step."""
    import torch

    heads, value = SEQUENCES * SHAPE["num_attention_heads"], SHAPE["v_head_dim"]
    width = SHAPE["qk_nope_head_dim"] + SHAPE["qk_rope_head_dim"]
    total = 0.0
    for end in range(QUERIES, LENGTH + 1, QUERIES):
        q, k = (torch.randn(heads, n, width).to(dtype) for n in (QUERIES, end))
        v, out = (torch.randn(heads, n, value).to(dtype) for n in (end, QUERIES))
        share = torch.randn(heads, QUERIES, end).to(dtype)
        turned = share.transpose(1, 2)
        for one, other in (
            (q, k.transpose(1, 2)), (share, v), (out, v.transpose(1, 2)), (share, k),
            (turned, q), (turned, out),
        ):  # fmt: skip
            together = best(lambda one=one, other=other: torch.bmm(one, other))
            alone = best(lambda one=one, other=other: torch.mm(one[0], other[0]))
            total += min(together, heads * alone)
    return total * int(SHAPE["num_hidden_layers"])


def main() -> None:
    """Measure and print."""
    import torch

    from openseek.config.model import ModelConfig
    from openseek.model import count_parameters, flops_per_token

    kind = sys.argv[1]
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[kind]
    torch.set_num_threads(1)
    config = ModelConfig.model_validate(SHAPE)
    size = dtype.itemsize
    a, b = torch.ones(1 << 22, dtype=dtype), torch.ones(1 << 22, dtype=dtype)
    cached = 2 * a.nbytes / best(lambda: b.copy_(a))
    weights = torch.ones(1 << 25, dtype=dtype), *(torch.zeros(1 << 25, dtype=dtype) for _ in "mvg")
    update = best(lambda: _adamw(*weights)) / (1 << 25)
    seconds = time_products(dtype)
    seconds["between products"] = elements_between() * size / cached
    seconds["optimizer"] = update * count_parameters(config)[0]
    peak = gemm_rate(dtype)
    flop = flops_per_token(config, LENGTH) * TOKENS
    answer = {
        "seconds": {name: round(s, 4) for name, s in seconds.items()},
        "flop": flop,
        "step_s": round(sum(seconds.values()), 3),
        "bandwidth_gb_s": round(cached / 1e9, 1),
        "gemm_gflop_s": round(peak / 1e9),
        "best_share_of_gemm_peak": round(flop / peak / sum(seconds.values()), 3),
    }
    print(json.dumps(answer))


def _adamw(weight: Any, first: Any, second: Any, grad: Any) -> None:
    import torch

    torch._fused_adamw_(
        [weight], [grad], [first], [second], [], [torch.ones(())], amsgrad=False, lr=1e-3,
        beta1=0.9, beta2=0.95, weight_decay=0.1, eps=1e-8, maximize=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
