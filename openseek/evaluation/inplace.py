"""Evaluate a model that is in memory, in the process that holds it: during training, say.

What training relies on is as before afterwards: gradients on or off, training mode of every module,
the random states of Python and torch, and the number of threads. Only the metrics of
lighteval run in a process of their own, since lighteval changes such state for good. For an
evaluation that takes longer than a moment, save the checkpoint and use `evaluate_model`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openseek.config.evaluation import EvaluationConfig
from openseek.evaluation.computing import compute
from openseek.evaluation.models import NativeModel, load_codec
from openseek.evaluation.step import evaluate_model

if TYPE_CHECKING:
    from openseek.model import OpenSeekModel

Json = dict[str, Any]


def evaluate_in_place(
    model: OpenSeekModel,
    out: Path | str,
    *,
    tokenizer: Path | str,
    heldout: Path | str | None = None,
    benchmarks: Path | str | None = None,
    config: EvaluationConfig | None = None,
    seed: int = 0,
) -> Json:
    """Evaluate a model of ours as it is now, and leave it and this process as they were.

    Args:
        model: The whole model (not a shard of it), on any device and of any type.
        out: Folder for scores.json and the items.
        tokenizer: Its tokenizer's folder.
        heldout: Folder of document shards; None: no bits per byte and no cloze tasks.
        benchmarks: Folder that `fetch_benchmarks` wrote; None: no benchmarks.
        config: What to measure; its dtype and device are the model's own, nothing is cached.
        seed: Seed of samples and cloze items.

    Returns:
        The metrics of `evaluate`.
    """
    config = config or EvaluationConfig()
    kind = str(model.output_weight_VD.dtype).removeprefix("torch.")
    config = config.model_copy(update={"cache": "none", "dtype": kind, "backend": "openseek"})
    with untouched(model):
        codec = load_codec(tokenizer)
        scoring = NativeModel(model, str(model.output_weight_VD.device), config.context_length)

        def run(samples: Any) -> dict[str, Json]:
            return compute(scoring, codec, samples, batch_tokens=config.batch_tokens)

        return evaluate_model(
            _described(model, Path(out) / "_model"), out, tokenizer=tokenizer, heldout=heldout,
            benchmarks=benchmarks, config=config, seed=seed, compute=run,
        )  # fmt: skip


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode; restore it, gradients and random states at the end."""
    import torch

    training = {m: m.training for m in model.modules()}
    states = random.getstate(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    threads = torch.get_num_threads()
    enabled = torch.is_grad_enabled()
    try:
        model.eval()
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
        random.setstate(states[0])
        torch.set_rng_state(states[1])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(enabled)


def _described(model: OpenSeekModel, folder: Path) -> Path:
    """Write a folder that stands for the model: its config, and a digest of its weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    folder.mkdir(parents=True, exist_ok=True)
    config = {**model.config.model_dump(mode="json"), "weights": digest.hexdigest()}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
