"""The model: DeepSeek-V3's architecture (MLA, fine-grained experts, MTP) in plain torch.

    config = ModelConfig(preset="demo").with_vocab(8192)
    model = build_model(config, dtype=torch.bfloat16, seed=0)
    out = model(tokens_BT, labels_BT=labels_BT, doc_BT=doc_BT)
    out.loss.backward()
    update_router_biases(model, config.balance.bias_update_rate)  # after each optimizer step
    save_native(model, folder); model = load_native(folder)

`labels_BT[b, t]` is the token that follows `tokens_BT[b, t]`, -100 for none; `doc_BT` changes where
a document begins. `out.parts` has the scalars ce, mtp, balance, z (unweighted), `out.token_loss_BT`
the detached cross entropy of every token. Parameter names are Hugging Face's
(`model.layers.1.mlp.gate.weight`); experts are stored in 3-D (`experts.gate_up_proj [E, 2F, D]`),
MTP layers under `mtp.{k}`.

- `config.py`: parameter and FLOP counts, Hugging Face's config (needs no torch)
- `layers.py`, `attention.py`, `moe.py`, `expert_kernels.py`, `mtp.py`, `loss.py`: the parts
- `model.py`: `OpenSeekModel`; `decoding.py`: greedy decoding
- `native.py`, `hf.py`: our own folder, Hugging Face's folder; `step.py`: the export step
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openseek.model.balance import expert_load, reset_expert_load, update_router_biases
    from openseek.model.config import count_parameters, flops_per_token
    from openseek.model.decoding import generate
    from openseek.model.hf import export_hf, import_hf, logit_parity
    from openseek.model.model import ModelOutput, OpenSeekModel, build_model
    from openseek.model.native import load_native, save_native

_HOMES = {
    "balance": ("expert_load", "reset_expert_load", "update_router_biases"),
    "config": ("count_parameters", "flops_per_token"),
    "decoding": ("generate",),
    "hf": ("export_hf", "import_hf", "logit_parity"),
    "model": ("ModelOutput", "OpenSeekModel", "build_model"),
    "native": ("load_native", "save_native"),
}

__all__ = [
    "ModelOutput",
    "OpenSeekModel",
    "build_model",
    "count_parameters",
    "expert_load",
    "export_hf",
    "flops_per_token",
    "generate",
    "import_hf",
    "load_native",
    "logit_parity",
    "reset_expert_load",
    "save_native",
    "update_router_biases",
]


def __getattr__(name: str) -> Any:
    """Import torch only when a name that needs it is used."""
    for module, exported in _HOMES.items():
        if name in exported:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
