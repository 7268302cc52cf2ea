"""Train a model for a few steps: `train_model.py WHO TYPE STEPS`, WHO of the functions below.

The last line is a JSON object: CPU seconds of each step after the first, peak resident bytes,
the last loss, and the best rate of matrix products in this very process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

SEQUENCES, LENGTH = 2, 1024
WARM = 1  # first steps, which map memory; two where kernels are compiled

SHAPE: dict[str, Any] = {
    "vocab_size": 16_384, "hidden_size": 512, "num_hidden_layers": 8, "first_k_dense_replace": 1,
    "intermediate_size": 1152, "moe_intermediate_size": 128, "n_routed_experts": 64,
    "num_experts_per_tok": 6, "n_shared_experts": 1, "num_attention_heads": 4,
    "kv_lora_rank": 256, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "max_position_embeddings": LENGTH,
}  # fmt: skip
"""117M weights, of which a token uses 28.7M, the embedding not counted."""

Loss = Callable[[Any, Any], Any]


def openseek(dtype: Any) -> tuple[Any, Loss]:
    """Ours: the model that the pipeline trains, with the loss and the router's losses."""
    from openseek.config.model import ModelConfig
    from openseek.model import build_model, update_router_biases

    model = build_model(ModelConfig.model_validate(SHAPE), dtype=dtype).train()

    def loss(tokens_BT: Any, labels_BT: Any) -> Any:
        update_router_biases(model, 1e-3)
        return model(tokens_BT, labels_BT=labels_BT).loss

    return model, loss


def compiled(dtype: Any) -> tuple[Any, Loss]:
    """Ours with compiled decoder layers, as the pipeline trains it with `train.compile`."""
    from openseek.training.compiling import compile_layers

    model, loss = openseek(dtype)
    compile_layers(model)
    return model, loss


def transformers(dtype: Any, experts: str) -> tuple[Any, Loss]:
    """Transformers' DeepseekV3 with torch's fused attention."""
    import torch
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    from openseek.config.model import ModelConfig
    from openseek.model.config import to_hf_config

    ours = ModelConfig.model_validate(SHAPE)
    hf = to_hf_config(ours, dtype="float32", mtp=False, bos=None, eos=None, pad=None)
    config = DeepseekV3Config(**hf, attn_implementation="sdpa", experts_implementation=experts)
    torch.manual_seed(0)
    model = DeepseekV3ForCausalLM(config).to(dtype).train()

    def loss(tokens_BT: Any, labels_BT: Any) -> Any:
        return model(input_ids=tokens_BT, shift_labels=labels_BT, labels=labels_BT).loss

    return model, loss


WHO: dict[str, Callable[[Any], tuple[Any, Loss]]] = {
    "openseek": openseek,
    "openseek-compiled": compiled,
    "transformers-eager": lambda dtype: transformers(dtype, "eager"),
    "transformers-grouped_mm": lambda dtype: transformers(dtype, "grouped_mm"),
}


def gemm_rate(dtype: Any, seconds: float = 0.7) -> float:
    """Measure the best rate of matrix products of the model's sizes, in FLOP per CPU second."""
    import torch

    best = 0.0
    for m, k, n in ((2048, 512, 1536), (2048, 2048, 2048)):
        a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
        out = torch.empty(m, n, dtype=dtype)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.process_time()
            torch.mm(a, b, out=out)
            best = max(best, 2 * m * k * n / (time.process_time() - begin))
    return best


def main() -> None:
    """Train and print."""
    import torch

    who, kind, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[kind]
    torch.set_num_threads(1)
    rate = gemm_rate(dtype)
    model, loss_of = WHO[who](dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    seconds, loss = [], None
    warm = WARM + (who == "openseek-compiled")
    for _ in range(warm + steps):
        shape = (SEQUENCES, LENGTH + 1)
        tokens_BT1 = torch.randint(0, SHAPE["vocab_size"], shape, generator=generator)
        begin = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(tokens_BT1[:, :-1], tokens_BT1[:, 1:].contiguous())
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - begin)
    from openseek.config.model import ModelConfig
    from openseek.model import flops_per_token

    answer = {
        "tokens": SEQUENCES * LENGTH,
        "flop_per_token": flops_per_token(ModelConfig.model_validate(SHAPE), LENGTH),
        "step_s": [round(s, 4) for s in seconds[warm:]],
        "warm_s": [round(s, 1) for s in seconds[:warm]],
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": float(loss.detach()),
        "gemm_flop_s": rate,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
