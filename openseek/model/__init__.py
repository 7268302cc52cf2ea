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
- `native.py`: our own folder; `hf.py`: Hugging Face's, from and to memory
- `convert.py`: folders of any size, a few rows at a time: `conversion_plan.py` and `hf_names.py`
  say what becomes what, `tensor_files.py` reads and writes, `fp8.py` quantises, `bundle.py` brings
  tokenizer and configs along
- `parity.py`, `gates.py`: logits compared with transformers'; `step.py`: the export step
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openseek.model.balance import expert_load, reset_expert_load, update_router_biases
    from openseek.model.config import count_parameters, flops_per_token
    from openseek.model.convert import export_folder, import_folder
    from openseek.model.decoding import generate
    from openseek.model.hf import export_hf, import_hf
    from openseek.model.model import ModelOutput, OpenSeekModel, build_model
    from openseek.model.native import expert_range, load_native, read_experts, save_native
    from openseek.model.parity import logit_parity

_HOMES = {
    "balance": ("expert_load", "reset_expert_load", "update_router_biases"),
    "config": ("count_parameters", "flops_per_token"),
    "convert": ("export_folder", "import_folder"),
    "decoding": ("generate",),
    "hf": ("export_hf", "import_hf"),
    "model": ("ModelOutput", "OpenSeekModel", "build_model"),
    "native": ("expert_range", "load_native", "read_experts", "save_native"),
    "parity": ("logit_parity",),
}

__all__ = [
    "ModelOutput",
    "OpenSeekModel",
    "build_model",
    "count_parameters",
    "expert_load",
    "expert_range",
    "export_folder",
    "export_hf",
    "flops_per_token",
    "generate",
    "import_folder",
    "import_hf",
    "load_native",
    "logit_parity",
    "read_experts",
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
