"""Checkpoints as scoring models: our own folder, or a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from openseek.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["native", "hf"]


@dataclass
class TextCodec:
    """Text to tokens, as evaluation needs it.

    Attributes:
        start: Token that stands in where nothing else comes first: the begin token, else the end
            token (which stands before a document in training just as well), else none.
        prefix: What stands before every prompt: the start token for our models, which saw it
            before every document; for others what their tokenizer itself adds.
        digest: Identity of the tokenizer.
    """

    start: int | None
    prefix: tuple[int, ...]
    digest: str
    _encode: Any = field(repr=False)
    _decode: Any = field(repr=False)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts without any special token."""
        return [[int(i) for i in ids] for ids in self._encode(list(texts))]

    def decode(self, tokens: Sequence[int]) -> str:
        """Turn tokens into text, for people to read."""
        return str(self._decode(list(tokens)))


class NativeModel:
    """Our model around the scoring interface."""

    def __init__(self, model: Any, device: str = "cpu", context_length: int = 0) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.context_length = context_length or model.config.max_position_embeddings
        self.head_VD = self.model.output_weight_VD.detach().float()

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return the states after the final norm."""
        states: Tensor = self.model.hidden_states(tokens_BT)
        return states

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer in float32, whatever the type of the weights."""
        return hidden_ND.float() @ self.head_VD.T


class HuggingFaceModel:
    """A causal language model of transformers around the scoring interface."""

    def __init__(self, model: Any, device: str = "cpu", context_length: int = 0) -> None:
        self.model = model.to(device).eval()
        self.device = device
        text_config = model.config.get_text_config()
        self.context_length = context_length or text_config.max_position_embeddings
        self.softcap = getattr(text_config, "final_logit_softcapping", None)
        head = self.model.get_output_embeddings()
        self.head_VD = head.weight.detach().float()
        self.bias_V = None if head.bias is None else head.bias.detach().float()

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return the states after the final norm."""
        states: Tensor = self.model.base_model(tokens_BT, use_cache=False).last_hidden_state
        return states

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer in float32, and the soft cap of the models that have one."""
        import torch

        logits_NV = hidden_ND.float() @ self.head_VD.T
        if self.bias_V is not None:
            logits_NV = logits_NV + self.bias_V
        return self.softcap * torch.tanh(logits_NV / self.softcap) if self.softcap else logits_NV


def kind_of(folder: Path) -> Kind:
    """Tell our own folder from a Hugging Face folder by its config.json.

    Raises:
        DataError: There is no config.json.
    """
    import json

    config = folder / "config.json"
    if not config.is_file():
        raise DataError("no config.json", where=str(folder), mend="Name a model's folder.")
    return "hf" if "model_type" in json.loads(config.read_text()) else "native"


def pick_device(wanted: str = "") -> str:
    """Return the wanted device, else a GPU if there is one, else the CPU."""
    import torch

    return wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def load_model(
    folder: Path | str, *, dtype: str = "float32", device: str = "", context_length: int = 0
) -> NativeModel | HuggingFaceModel:
    """Load a checkpoint for scoring.

    Args:
        folder: Our folder or a Hugging Face folder.
        dtype: float32 or bfloat16.
        device: Torch device; empty: a GPU if there is one.
        context_length: Longest sequence in tokens; 0: the model's own.
    """
    import torch

    folder, device = Path(folder), pick_device(device)
    torch_dtype = getattr(torch, dtype)
    if kind_of(folder) == "native":
        from openseek.model import load_native

        return NativeModel(load_native(folder, dtype=torch_dtype), device, context_length)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch_dtype)
    return HuggingFaceModel(model, device, context_length)


def load_codec(folder: Path | str, kind: Kind = "native") -> TextCodec:
    """Load a tokenizer folder, for a model of ours or of transformers."""
    folder = Path(folder)
    if kind == "native":
        from openseek.tokens import load_tokenizer

        own = load_tokenizer(folder)
        start = own.bos_id if own.bos_id is not None else own.eos_id
        prefix = () if start is None else (start,)
        return TextCodec(start, prefix, own.digest, own.encode_batch, own.decode)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    bare, full = (tokenizer.encode("a", add_special_tokens=on) for on in (False, True))
    prefix = tuple(full[: len(full) - len(bare)]) if full[-len(bare) :] == bare else ()

    def encode(texts: list[str]) -> list[list[int]]:
        return [tokenizer.encode(t, add_special_tokens=False) for t in texts]

    return TextCodec(start, prefix, "", encode, tokenizer.decode)
