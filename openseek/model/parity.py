"""The gate of conversion: our logits against those of transformers' DeepseekV3, in fp32.

Compared on real text of several lengths, on random tokens, and on documents packed into one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openseek.errors import DataError, PermanentError
from openseek.model.fp8 import dequantise, quantise
from openseek.model.hf_names import hf_parts, is_linear
from openseek.model.model import OpenSeekModel
from openseek.model.moe import Router

# Rounding may swap two experts whose scores are this close; then nothing can be compared.
TIE = 1e-5
TEXT = """A river does not hurry. It turns where the rock turns, carries what it can, and leaves
the rest for the next flood. In 1887 the gauge at the bridge stood at 4.72 m, 31% above the mean.

def running_mean(values, width=5):
    total = sum(values[:width])
    return [total / width for _ in values]

Let f(x) = 3x^2 - 12x + 7; then f'(x) = 6x - 12, so the minimum lies at x = 2 and f(2) = -5.
河水不着急。它随岩石转弯，带走能带走的，把其余的留给下一次洪水。Ça coûte 12,50 €, n'est-ce pas?
"""


@dataclass(frozen=True)
class Case:
    """Sequences to compare on: tokens [B, T] and, where documents are packed, their numbers."""

    name: str
    tokens_BT: Tensor
    doc_BT: Tensor | None = None


@dataclass(frozen=True)
class Parity:
    """How far two models' logits are apart.

    Attributes:
        max_abs: Largest absolute difference of any logit.
        where: Case, row, position and token of it.
        cases: The same figure by case.
    """

    max_abs: float = 0.0
    where: str = ""
    cases: dict[str, float] = field(default_factory=dict)

    def check(self, tolerance: float, what: str) -> None:
        """Fail if a logit differs by more than the tolerance.

        Raises:
            PermanentError: It does (or is not a number); the message has the figures.
        """
        if self.max_abs <= tolerance:
            return
        figures = ", ".join(f"{name} {worst:.3g}" for name, worst in self.cases.items())
        raise PermanentError(
            f"a logit differs from transformers' by {self.max_abs:.3g}, more than {tolerance:.3g} "
            f"({self.where}; largest by case: {figures})",
            where=what,
            mend="The converted model would answer differently from its source; this is a "
            "defect of the conversion, a damaged file or a change in transformers. Nothing was "
            "published.",
        )


def make_cases(
    vocab_size: int, tokenizer: Path | None, *, sequences: int, length: int, seed: int
) -> list[Case]:
    """Draw up what is compared.

    Args:
        vocab_size: Random tokens are below it.
        tokenizer: Folder, to encode real text with; None: random tokens alone.
        sequences: Rows of random tokens.
        length: Tokens of the longest sequence, at least 2.
        seed: Seed of the random tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    random_BT = torch.randint(vocab_size, (sequences, length), generator=generator)
    cases = [Case("random", random_BT)]
    ids = _text_ids(tokenizer) if tokenizer else []
    if ids:
        many = ids * (-(-2 * length // len(ids)))
        for size in sorted({2, max(2, length // 3), length}):
            rows = torch.tensor([many[:size], many[length - size // 2 :][:size]])
            cases.append(Case(f"text of {size}", rows))
    packed_BT = cases[-1].tokens_BT if ids else random_BT[: min(2, sequences)]
    ends = [0, max(1, length // 5), max(1, length // 2), length]
    doc_T = torch.zeros(length, dtype=torch.long)
    for number, (start, stop) in enumerate(pairwise(ends)):
        doc_T[start:stop] = number
    cases.append(Case("packed", packed_BT, doc_T.expand_as(packed_BT)))
    return cases


@torch.no_grad()
def compare(
    model: OpenSeekModel,
    hf_folder: Path,
    cases: Sequence[Case],
    *,
    dtype: torch.dtype | None = None,
) -> Parity:
    """Compare our logits with those of transformers' DeepseekV3, both in fp32 on the CPU.

    Sequences in which two experts' scores are closer than rounding (1e-5) at the edge of the
    selection are left out: either choice would be right.

    Args:
        model: With the weights that were exported, in fp32 (rounded as they were).
        hf_folder: The folder that transformers loads; not in FP8.
        cases: What to compare on.
        dtype: Round transformers' weights to this type first; router biases stay as they are.

    Raises:
        DataError: transformers finds weights missing, or every sequence has a tie.
    """
    theirs = load_theirs(hf_folder)
    if dtype is not None:
        for parameter in theirs.parameters():
            parameter.copy_(parameter.to(dtype))
    was_training = model.training
    model.eval()
    worst: dict[str, float] = {}
    where: dict[str, str] = {}
    for case in cases:
        ours_BTV, margin_B = _logits_and_margins(model, case)
        clear_B = margin_B > TIE
        if not bool(clear_B.any()):
            continue
        theirs_BTV = theirs(**_inputs(case, clear_B)).logits
        ours_BTV = ours_BTV[clear_B, :, : theirs_BTV.shape[-1]]  # without padding of our own
        gap = (ours_BTV - theirs_BTV).abs().nan_to_num(nan=float("inf"))
        row, position, token = (int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
        worst[case.name] = float(gap.max())
        row = int(clear_B.nonzero()[row])
        where[case.name] = f"{case.name}, row {row}, position {position}, token {token}"
    model.train(was_training)
    if not worst:
        raise DataError("every sequence has a tie between experts", mend="Compare more sequences.")
    first = max(worst, key=lambda name: worst[name])
    return Parity(worst[first], where[first], worst)


def logit_parity(model: OpenSeekModel, hf_folder: Path, tokens_BT: Tensor) -> float:
    """Return the largest difference of a logit on some sequences; see `compare`."""
    return compare(model, hf_folder, [Case("given", tokens_BT)]).max_abs


def load_theirs(hf_folder: Path) -> Any:
    """Load transformers' DeepseekV3 in fp32.

    Raises:
        DataError: It finds weights missing or of another shape.
    """
    from transformers import DeepseekV3ForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with _quiet(transformers_logging):  # it warns of MTP layers, which it does not run
        theirs, info = DeepseekV3ForCausalLM.from_pretrained(
            hf_folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager",
            ignore_mismatched_sizes=True,
        )  # fmt: skip
    for kind in ("missing_keys", "mismatched_keys"):
        if names := sorted(str(key) for key in info.get(kind) or ()):
            raise DataError(
                f"transformers reports {len(names)} {kind}, first {names[0]}",
                where=str(hf_folder),
                mend="This is a defect of the conversion.",
            )
    return theirs.eval()


@torch.no_grad()
def round_to_fp8(model: OpenSeekModel, dtype: torch.dtype | None) -> None:
    """Give a model the values that an FP8 export stores, in place.

    Args:
        model: In fp32.
        dtype: Type of what is not FP8; None: as it is.
    """
    for name, parameter in model.named_parameters():
        shape, start = tuple(parameter.shape), 0
        flat = parameter.view(-1, shape[-1])
        for part in hf_parts(name, shape, model.config):
            if is_linear(part.name):
                piece = flat[start : start + part.shape[0]]
                piece.copy_(dequantise(*quantise(piece)))
            else:
                parameter.copy_(parameter.to(dtype or parameter.dtype))
            start += part.shape[0]


def loadable(folder: Path, config: dict[str, Any], scratch: Path) -> Path:
    """Give a folder in the form that transformers loads without remote code: links and a config."""
    scratch.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if ".safetensors" in path.name:
            (scratch / path.name).symlink_to(path.resolve())
    (scratch / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return scratch


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _text_ids(tokenizer: Path) -> list[int]:
    from openseek.tokens.tokenizer import load_tokenizer

    return [int(i) for i in load_tokenizer(tokenizer).encode_batch([TEXT])[0]]


def _inputs(case: Case, clear_B: Tensor) -> dict[str, Tensor]:
    tokens_BT = case.tokens_BT[clear_B]
    if case.doc_BT is None:
        return {"input_ids": tokens_BT}
    doc_BT = case.doc_BT[clear_B]
    length = tokens_BT.shape[1]
    before_TT = torch.ones(length, length, dtype=torch.bool).tril()
    seen_BTT = (doc_BT[:, :, None] == doc_BT[:, None, :]) & before_TT
    mask = torch.zeros(seen_BTT.shape).masked_fill(~seen_BTT, torch.finfo(torch.float32).min)
    steps_T = torch.arange(length)
    begins_BT = torch.ones_like(doc_BT, dtype=torch.bool)
    begins_BT[:, 1:] = doc_BT[:, 1:] != doc_BT[:, :-1]
    first_BT = (steps_T * begins_BT).cummax(dim=1).values
    return {
        "input_ids": tokens_BT,
        "attention_mask": mask[:, None],
        "position_ids": steps_T - first_BT,
    }


def _logits_and_margins(model: OpenSeekModel, case: Case) -> tuple[Tensor, Tensor]:
    margins: list[Tensor] = []

    def watch(router: torch.nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        assert isinstance(router, Router)
        margins.append(router.margin(inputs[0]).view(case.tokens_BT.shape).amin(dim=1))

    hooks = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, Router)]
    try:
        logits_BTV = model.logits(model.hidden_states(case.tokens_BT, case.doc_BT))
    finally:
        for hook in hooks:
            hook.remove()
    far_B = torch.full((case.tokens_BT.shape[0],), float("inf"))
    return logits_BTV, torch.stack([far_B, *margins]).amin(dim=0)
