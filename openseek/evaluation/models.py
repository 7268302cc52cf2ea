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
        end: Token that ends a text.
        vocab_size: Number of its tokens; a model's output layer may have more rows.
    """

    start: int | None
    prefix: tuple[int, ...]
    digest: str
    _encode: Any = field(repr=False)
    _decode: Any = field(repr=False)
    end: int | None = None
    vocab_size: int | None = None

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

    @property
    def branch_tokens(self) -> int:
        """Longest row with branches: any the model can read."""
        return self.context_length

    def hidden_branched(self, tokens_BT: Tensor, depths_BT: Tensor, seen_B1TT: Tensor) -> Tensor:
        """Return the states of rows whose tokens see only what the mask says."""
        bias = _bias(seen_B1TT, self.model.output_weight_VD.dtype)
        states: Tensor = self.model.hidden_states_at(tokens_BT, depths_BT, bias)
        return states

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer in float32, whatever the type of the weights."""
        return hidden_ND.float() @ self.head_VD.T

    def new_cache(self) -> Any:
        """Return an empty cache: latents and rotary keys of each layer."""
        return [[] for _ in self.model.model.layers]

    def step(self, tokens_BT: Tensor, depths_BT: Tensor, seen_B1TC: Tensor, cache: Any) -> Tensor:
        """Read new tokens after the cached ones."""
        from openseek.model.decoding import decode_step

        bias = _bias(seen_B1TC, self.model.output_weight_VD.dtype)
        return decode_step(self.model, tokens_BT, depths_BT, bias, cache)

    def keep_rows(self, cache: Any, rows_N: Tensor) -> None:
        """Drop all other rows of a cache."""
        for layer in cache:
            layer[:] = [kept[rows_N] for kept in layer]


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
        window = getattr(text_config, "sliding_window", None) or self.context_length
        self.branch_tokens = min(window, self.context_length) if self._reads_branches() else 0

    def hidden(self, tokens_BT: Tensor) -> Tensor:
        """Return the states after the final norm."""
        states: Tensor = self.model.base_model(tokens_BT, use_cache=False).last_hidden_state
        return states

    def hidden_branched(self, tokens_BT: Tensor, depths_BT: Tensor, seen_B1TT: Tensor) -> Tensor:
        """Return the states of rows whose tokens see only what the mask says."""
        states: Tensor = self.model.base_model(
            tokens_BT,
            attention_mask=_bias(seen_B1TT, self.model.dtype),
            position_ids=depths_BT,
            use_cache=False,
        ).last_hidden_state
        return states

    def new_cache(self) -> Any:
        """Return transformers' own cache."""
        from transformers import DynamicCache

        if not self.branch_tokens:
            raise DataError(
                f"{type(self.model).__name__} takes no positions and mask of its own",
                where="evaluation",
                mend="Leave out the tasks that generate, or take evaluation.backend=lm-eval.",
            )
        return DynamicCache(config=self.model.config)

    def step(self, tokens_BT: Tensor, depths_BT: Tensor, seen_B1TC: Tensor, cache: Any) -> Tensor:
        """Read new tokens after the cached ones."""
        states: Tensor = self.model.base_model(
            tokens_BT,
            attention_mask=_bias(seen_B1TC, self.model.dtype),
            position_ids=depths_BT,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return states

    def keep_rows(self, cache: Any, rows_N: Tensor) -> None:
        """Drop all other rows of a cache."""
        cache.batch_select_indices(rows_N)

    def _reads_branches(self) -> bool:
        """Try it: not every architecture takes positions and a mask of its own."""
        import torch

        from openseek.evaluation.trees import grow

        most = min(50, self.head_VD.shape[0])
        options = [[t % most for t in (3, 11, 7, 29, 17, *tail)] for tail in ((5, 8), (13, 2))]
        tree = grow(options, 16)[0]
        tokens_BT = torch.tensor([tree.tokens], device=self.device)
        depths_BT = torch.tensor([tree.depths], device=self.device)
        seen = torch.from_numpy(tree.seen(len(tree.tokens)))[None, None].to(self.device)
        with torch.inference_mode():
            alone = torch.cat([self.hidden(torch.tensor([o], device=self.device)) for o in options])
            try:
                together = self.hidden_branched(tokens_BT, depths_BT, seen)[0]
            except (TypeError, ValueError, RuntimeError):
                return False
        paths = dict(tree.paths)
        found = torch.stack([together[paths[i]] for i in range(len(options))])
        loosest = 1e-3 if self.model.dtype == torch.float32 else 0.1
        return bool((found - alone).abs().max() <= loosest * alone.abs().max())

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Apply the output layer in float32, and the soft cap of the models that have one."""
        import torch

        logits_NV = hidden_ND.float() @ self.head_VD.T
        if self.bias_V is not None:
            logits_NV = logits_NV + self.bias_V
        return self.softcap * torch.tanh(logits_NV / self.softcap) if self.softcap else logits_NV


def _bias(seen: Tensor, dtype: Any) -> Tensor:
    """Turn a mask into what is added to attention scores."""
    import torch

    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
        ~seen, torch.finfo(dtype).min
    )


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
        return TextCodec(
            start, prefix, own.digest, own.encode_batch, own.decode, own.eos_id, own.vocab_size
        )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    bare, full = (tokenizer.encode("a", add_special_tokens=on) for on in (False, True))
    prefix = tuple(full[: len(full) - len(bare)]) if full[-len(bare) :] == bare else ()

    def encode(texts: list[str]) -> list[list[int]]:
        return [tokenizer.encode(t, add_special_tokens=False) for t in texts]

    return TextCodec(
        start, prefix, "", encode, tokenizer.decode, tokenizer.eos_token_id, len(tokenizer)
    )
