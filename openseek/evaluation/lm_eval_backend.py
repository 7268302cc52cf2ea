"""lm-eval (EleutherAI's harness) as a second way to compute the same samples.

An optional dependency, imported only here: `evaluation.backend: lm-eval`. It reads Hugging Face
folders; prompts, items and metrics stay ours, so that a difference is one of log-likelihoods.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openseek.config.evaluation import EvaluationConfig
from openseek.errors import ConfigError
from openseek.evaluation.samples import Sample

Json = dict[str, Any]
VERSION = "0.4."


class LmEval:
    """Lm-eval's transformers model, behind the samples.

    Raises:
        ConfigError: lm-eval is not installed, or the model is in our own format.
    """

    def __init__(
        self, folder: Path, tokenizer: Path, config: EvaluationConfig, device: str
    ) -> None:
        from openseek.evaluation.models import kind_of, load_codec

        if kind_of(folder) == "native":
            raise ConfigError(
                "lm-eval reads Hugging Face folders, this model is in our own format",
                where="evaluation.backend",
                mend="Export it (openseek export), or take evaluation.backend=openseek.",
            )
        check_installed()
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        self._instance = Instance
        self._prefix = list(load_codec(tokenizer, "hf").prefix)
        self.lm: Any = HFLM(
            pretrained=str(folder),
            tokenizer=str(tokenizer),
            dtype=config.dtype,
            device=device,
            softmax_dtype="float32",
            add_bos_token=bool(self._prefix),  # what the tokenizer does by itself
            batch_size=max(1, config.batch_tokens // 128),
            max_length=config.context_length or None,
        )

    def compute(self, samples: list[Sample]) -> dict[str, Json]:
        """Compute the results of samples, as `computing.compute` does."""
        results: dict[str, Json] = {}
        of = {kind: [s for s in samples if s.kind == kind] for kind in {s.kind for s in samples}}
        results.update(self._choices(of.get("choice", [])))
        results.update(self._documents(of.get("document", [])))
        results.update(self._generated(of.get("generate", [])))
        return results

    def _choices(self, samples: Sequence[Sample]) -> dict[str, Json]:
        requests: list[tuple[tuple[str, str], list[int], list[int]]] = []
        for s in samples:
            if s.spans is None:
                pairs = [self.lm._encode_pair(s.context, c) for c in s.continuations]
            else:
                pairs = [([*self._prefix, *s.spans[0]], list(c)) for c in s.spans[1]]
            requests.extend((("", ""), head, tail) for head, tail in pairs)
        scored = iter(self.lm._loglikelihood_tokens(requests, disable_tqdm=True))
        lengths = iter([len(tail) for _, _, tail in requests])
        results = {}
        for s in samples:
            found = [next(scored) for _ in s.continuations]
            results[s.key] = {
                "logprobs": [float(total) for total, _ in found],
                "tokens": [next(lengths) for _ in s.continuations],
                "greedy": [bool(greedy) for _, greedy in found],
            }
        return results

    def _documents(self, samples: Sequence[Sample]) -> dict[str, Json]:
        asked = [self._ask("loglikelihood_rolling", s.context) for s in samples]
        totals = self.lm.loglikelihood_rolling(asked, disable_tqdm=True) if asked else []
        return {
            s.key: {
                "bits": -float(total) / math.log(2),
                "tokens": len(self.lm.tok_encode(s.context)),
            }
            for s, total in zip(samples, totals, strict=True)
        }

    def _generated(self, samples: Sequence[Sample]) -> dict[str, Json]:
        asked = [
            self._ask(
                "generate_until",
                s.context,
                {"until": list(s.stops), "max_gen_toks": s.max_tokens, "do_sample": False},
            )
            for s in samples
        ]
        texts = self.lm.generate_until(asked, disable_tqdm=True) if asked else []
        return {
            s.key: {"output": text, "tokens": len(self.lm.tok_encode(text))}
            for s, text in zip(samples, texts, strict=True)
        }

    def _ask(self, kind: str, *arguments: Any) -> Any:
        return self._instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def check_installed() -> None:
    """Refuse a missing lm-eval, or one of another line.

    Raises:
        ConfigError: With the command that installs it.
    """
    try:
        version = importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if not version.startswith(VERSION):
        raise ConfigError(
            f"lm-eval {version} is installed" if version else "lm-eval is not installed",
            where="evaluation.backend=lm-eval",
            mend="pip install lm-eval==0.4.13, or take evaluation.backend=openseek.",
        )
