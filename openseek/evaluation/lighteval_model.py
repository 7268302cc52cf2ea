"""Our checkpoints as a lighteval model: log-likelihoods, batched within a task, never cached.

Only imported in the evaluation worker, after `lighteval_compat.import_lighteval()`.
"""

from __future__ import annotations

from typing import Any

from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from openseek.evaluation.computing import compute
from openseek.evaluation.models import TextCodec
from openseek.evaluation.samples import Sample
from openseek.evaluation.scorer import ScoringModel

Json = dict[str, Any]


class _NoCache:
    """Lighteval's cache knows a model by its config: new weights would get the old answers."""

    def _init_registry(self, registry: Any) -> None:
        pass


class OpenSeekLightevalModel(LightevalModel):
    """Scores options and continues prompts with `openseek.evaluation.computing`.

    Context and option are tokenised apart, as lighteval does for every model; a space at the end
    of the context moves into the option. A context that is too long loses its beginning.
    """

    def __init__(
        self, model: ScoringModel, codec: TextCodec, *, batch_tokens: int, name: str = "openseek"
    ) -> None:
        self.model = model
        self.codec = codec
        self.batch_tokens = batch_tokens
        self.config = ModelConfig(model_name=name)
        self._cache = _NoCache()

    @property
    def tokenizer(self) -> Any:
        """The codec; lighteval itself only passes it on."""
        return self.codec

    @property
    def add_special_tokens(self) -> bool:
        """False: the codec's prefix is what stands before a prompt."""
        return False

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens."""
        return self.model.context_length

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        """Score all options of all documents."""
        results = self._results(docs, [_choice(d) for d in docs])
        return [
            ModelResponse(
                input=doc.query,
                output_tokens=[[0] * n for n in r["tokens"]],  # lighteval looks at their number
                logprobs=r["logprobs"],
                argmax_logits_eq_gold=r["greedy"],
            )
            for doc, r in zip(docs, results, strict=True)
        ]

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Continue all prompts up to their stop texts."""
        results = self._results(docs, [_prompt(d) for d in docs])
        return [
            ModelResponse(input=doc.query, text=[r["output"]], output_tokens=[[0] * r["tokens"]])
            for doc, r in zip(docs, results, strict=True)
        ]

    def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:
        """Refuse: bits per byte are measured by `openseek.evaluation.heldout`."""
        raise TypeError(f"task {docs[0].task_name} asks for perplexity; use bits per byte")

    def _results(self, docs: list[Doc], samples: list[Sample]) -> list[Json]:
        found = compute(self.model, self.codec, samples, batch_tokens=self.batch_tokens)
        return [found[s.key] for s in samples]


class ReplayModel(OpenSeekLightevalModel):
    """Answers with results that were computed before.

    Args:
        results: Result of each item, by the key that its document carries.
    """

    def __init__(self, results: dict[str, Json]) -> None:
        self.results = results
        self.config = ModelConfig(model_name="openseek")
        self._cache = _NoCache()

    @property
    def tokenizer(self) -> Any:
        """None: nothing is tokenised any more."""
        return None

    @property
    def max_length(self) -> int:
        """No limit: nothing is read any more."""
        return 1 << 30

    def _results(self, docs: list[Doc], samples: list[Sample]) -> list[Json]:
        return [self.results[(doc.specific or {})["key"]] for doc in docs]


def _choice(doc: Doc) -> Sample:
    spans = (doc.specific or {}).get("tokens")
    if spans is not None:
        spans = tuple(spans[0]), tuple(tuple(s) for s in spans[1])
    return Sample("choice", doc.query, tuple(doc.choices), spans)


def _prompt(doc: Doc) -> Sample:
    stops = tuple(doc.stop_sequences or ())
    return Sample("generate", doc.query, stops=stops, max_tokens=doc.generation_size or 256)
