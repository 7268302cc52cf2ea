"""Our checkpoints as a lighteval model: log-likelihoods, batched within a task, never cached.

Only imported in the evaluation worker, after `lighteval_compat.import_lighteval()`.
"""

from __future__ import annotations

from typing import Any

from lighteval.models.abstract_model import LightevalModel, ModelConfig
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from openseek.evaluation.models import TextCodec
from openseek.evaluation.scorer import Request, ScoringModel, score


class _NoCache:
    """Lighteval's cache knows a model by its config: new weights would get the old answers."""

    def _init_registry(self, registry: Any) -> None:
        pass


class OpenSeekLightevalModel(LightevalModel):
    """Scores options with `openseek.evaluation.scorer`.

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
        requests: list[Request] = []
        spans = []
        for doc in docs:
            pairs = self._pairs(doc)
            spans.append(range(len(requests), len(requests) + len(pairs)))
            requests.extend(pairs)
        scored = score(self.model, requests, batch_tokens=self.batch_tokens)
        responses = []
        for doc, span in zip(docs, spans, strict=True):
            tails = [requests[i] for i in span]
            responses.append(
                ModelResponse(
                    input=doc.query,
                    output_tokens=[list(t.tokens[-t.n_scored :]) for t in tails],
                    logprobs=[scored[i].total for i in span],
                    argmax_logits_eq_gold=[scored[i].greedy for i in span],
                )
            )
        return responses

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Refuse: no task here generates text."""
        raise TypeError(
            f"task {docs[0].task_name} asks for generated text; only options are scored"
        )

    def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:
        """Refuse: bits per byte are measured by `openseek.evaluation.heldout`."""
        raise TypeError(f"task {docs[0].task_name} asks for perplexity; use bits per byte")

    def _pairs(self, doc: Doc) -> list[Request]:
        context, choices = self._tokens(doc)
        longest = self.model.context_length + 1
        requests = []
        for choice in choices:
            tail = choice[-(longest - 1) :]
            room = longest - len(tail) - len(self.codec.prefix)
            kept = context[max(0, len(context) - room) :] if room > 0 else []
            head = [*self.codec.prefix, *kept][-(longest - len(tail)) :]
            if not head:
                head = [self.codec.start if self.codec.start is not None else tail[0]]
            requests.append(Request([*head, *tail], len(tail)))
        return requests

    def _tokens(self, doc: Doc) -> tuple[list[int], list[list[int]]]:
        spans = (doc.specific or {}).get("tokens")
        if spans is not None:
            return spans
        context = doc.query.rstrip()
        space = doc.query[len(context) :]
        encoded = self.codec.encode([context, *(space + c for c in doc.choices)])
        return encoded[0], encoded[1:]
