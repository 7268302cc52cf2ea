"""From which length on a shared context pays: branches of one row against a row an option.

Contexts of random tokens, four options of eight tokens each; items per CPU second of the scorer
alone, best of the rounds, on SmolLM2.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from eval_speed import model_folder
from harness import Row

LENGTHS = (8, 32, 128, 512, 1024)
OPTIONS, OPTION = 4, 8


def measure(given: argparse.Namespace) -> list[Row]:
    """Run both in turns at each length."""
    import torch

    from openseek.evaluation.models import load_model

    torch.set_num_threads(1)
    model: Any = load_model(model_folder(given.models), device="cpu", context_length=2048)
    longest = model.branch_tokens
    rows = []
    for length in LENGTHS:
        seconds: dict[str, list[float]] = {"branches": [], "rows": []}
        worst = 0.0
        requests = _requests(length, max(1, 512 // length), model.head_VD.shape[0])
        for _ in range(given.runs):
            found = {}
            for name, limit in (("branches", longest), ("rows", 0)):
                model.branch_tokens = limit
                found[name], took = _timed(model, requests)
                seconds[name].append(took)
            pairs = zip(found["branches"], found["rows"], strict=True)
            worst = max(worst, *(abs(a - b) for a, b in pairs))
        items = len(requests) / OPTIONS
        fast, slow = (items / min(seconds[name]) for name in ("branches", "rows"))
        rows.append(
            Row(
                f"context of {length}", "a row an option", fast, slow, "items/CPU-s", fast / slow,
                {"largest_logprob_difference": round(worst, 5)}, seconds,
            )
        )  # fmt: skip
    return rows


def _requests(length: int, items: int, vocabulary: int) -> list[Any]:
    import numpy as np

    from openseek.evaluation.scorer import Request

    rng = np.random.default_rng(length)
    requests = []
    for _ in range(items):
        context = rng.integers(0, vocabulary, length).tolist()
        options = rng.integers(0, vocabulary, (OPTIONS, OPTION)).tolist()
        requests.extend(Request([*context, *option], OPTION) for option in options)
    return requests


def _timed(model: Any, requests: list[Any]) -> tuple[list[float], float]:
    from openseek.config.evaluation import EvaluationConfig
    from openseek.evaluation.scorer import score

    begin = time.process_time()
    scored = score(model, requests, batch_tokens=EvaluationConfig().batch_tokens)
    return [s.total for s in scored], time.process_time() - begin
