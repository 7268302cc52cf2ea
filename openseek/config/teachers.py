"""Who answers the prompts of synthesis and labelling."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from openseek.config.base import Section, runtime


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise ValueError("base_url must start with http:// or https://")
    if parts.username or parts.password or parts.query:
        raise ValueError("base_url holds credentials or a query; name the key in api_key_env")
    return url.rstrip("/")


_OURS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "stop", "seed", "response_format",
    "stream", "n", "best_of", "max_completion_tokens",
}  # fmt: skip


class EndpointConfig(Section):
    """One of several endpoints that serve the same model."""

    base_url: str = runtime("", "Root of the endpoint, such as http://127.0.0.1:8000/v1.")
    api_key_env: str = runtime("", "NAME of the environment variable with the key. Empty: no key.")
    weight: float = runtime(1.0, "Share of the requests, relative to the other endpoints.", gt=0)
    concurrency: int = runtime(0, "Requests in flight at most. 0: the teacher's.", ge=0)
    requests_per_minute: float = runtime(0.0, "Limit. 0: the teacher's.", ge=0)
    tokens_per_minute: float = runtime(0.0, "Limit. 0: the teacher's.", ge=0)

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        if not url:
            raise ValueError("an endpoint needs a base_url")
        return _checked(url)


class TeacherConfig(Section):
    """Who answers the prompts.

    `extractive` copies from the document by fixed rules: free, offline, deterministic, and labelled
    as such in every row. `openai` is any OpenAI-compatible endpoint (vLLM, llama.cpp, a provider),
    or several of them. `transformers` and `llama_cpp` load a model in the step's own process, and
    `vllm` on the GPUs of the Ray cluster.
    """

    kind: Literal["extractive", "openai", "transformers", "llama_cpp", "vllm"] = Field(
        "extractive", description="Kind of teacher."
    )
    model: str = Field("", description="Model name that the endpoint knows; part of the identity.")
    temperature: float = Field(0.7, description="Sampling temperature.", ge=0, le=2)
    top_p: float = Field(0.95, description="Nucleus sampling mass.", gt=0, le=1)
    max_tokens: int = Field(2048, description="Tokens of one answer at most.", ge=16)
    structured: Literal["none", "json_object", "json_schema", "json_object_schema"] = Field(
        "none",
        description="What the server is asked to hold answers to. none: the prompt alone; "
        "json_object: any JSON object; json_schema: the answer's schema (OpenAI, vLLM, llama.cpp); "
        "json_object_schema: the same as llama-cpp-python spells it.",
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="openai: further fields of every request's body, such as repeat_penalty or "
        "chat_template_kwargs. No place for secrets: it is in the run's record.",
    )
    path: str = runtime("", "Local kinds: folder, .gguf file or hub id. Empty: `model`.")
    base_url: str = runtime("", "Root of the endpoint, such as http://127.0.0.1:8000/v1.")
    api_key_env: str = runtime("", "NAME of the environment variable with the key. Empty: no key.")
    endpoints: tuple[EndpointConfig, ...] = runtime(
        (), "Several endpoints that serve `model`, in place of base_url and api_key_env."
    )
    timeout_s: float = runtime(120.0, "Seconds for one request.", gt=0)
    max_tries: int = runtime(6, "Tries of one request on 429, 5xx and network faults.", ge=1)
    backoff_s: float = runtime(0.5, "Wait after the first fault, in seconds; doubles.", ge=0)
    max_wait_s: float = runtime(60.0, "Longest wait between tries, in seconds.", ge=0)
    concurrency: int = runtime(
        16, "Requests in flight at most, of one endpoint; fewer while it is overloaded.", ge=1
    )
    slow_factor: float = runtime(
        4.0,
        "An endpoint counts as overloaded when its mean latency is so many times its best one "
        "(answers of one length). 0: only when it says so (429, 503) or times out.",
        ge=0,
    )
    requests_per_minute: float = runtime(0.0, "Limit of one endpoint. 0: none.", ge=0)
    tokens_per_minute: float = runtime(
        0.0, "Limit of one endpoint, prompt and answer. 0: none.", ge=0
    )
    batch_size: int = runtime(8, "transformers and vllm: prompts generated together.", ge=1)
    context_tokens: int = runtime(
        8192, "llama_cpp and vllm: tokens of prompt and answer at most.", ge=256
    )
    gpus_per_engine: int = runtime(1, "vllm: GPUs that one engine spreads over.", ge=1)
    cache: str = runtime(
        "",
        "Folder or fsspec URL of the answers received so far, which later runs and other "
        "configurations share. Empty: `requests` in the run's store; beside the output folder of "
        "a layer used alone. `none`: keep nothing.",
    )
    retry_refused: bool = runtime(
        False, "Ask again what a model or a server refused for good in an earlier run."
    )
    price_in: float = runtime(0.0, "USD per million prompt tokens. 0: from the price table.", ge=0)
    price_out: float = runtime(
        0.0, "USD per million completion tokens. 0: from the price table.", ge=0
    )
    price_cached: float = runtime(
        0.0, "USD per million prompt tokens from the provider's cache. 0: the table's.", ge=0
    )
    prices: str = runtime(
        "", "YAML of your own prices, read before the shipped table; the same layout."
    )
    max_cost_usd: float = runtime(
        0.0,
        "USD that the answers of a step may cost in all. It stops before the request that could "
        "exceed this, and goes on when run again with more. 0: no limit.",
        ge=0,
    )

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        return _checked(url)

    @model_validator(mode="after")
    def _endpoint(self) -> TeacherConfig:
        if self.kind == "openai" and not (self.model and (self.base_url or self.endpoints)):
            raise ValueError("kind=openai needs model and base_url; set both, or kind=extractive")
        if self.extra and self.kind != "openai":
            raise ValueError("extra holds fields of requests to an endpoint; kind=openai only")
        if ours := sorted(_OURS & set(self.extra)):
            raise ValueError(f"extra may not hold {', '.join(ours)}: that is set elsewhere")
        if self.base_url and self.endpoints:
            raise ValueError("base_url beside endpoints; make it one of the endpoints")
        if self.kind not in ("extractive", "openai") and not self.model:
            raise ValueError(f"kind={self.kind} needs model, a name for it, and path where it is")
        return self

    @property
    def all_endpoints(self) -> tuple[EndpointConfig, ...]:
        """The endpoints, also where there is only `base_url`."""
        if self.endpoints:
            return self.endpoints
        return (EndpointConfig(base_url=self.base_url, api_key_env=self.api_key_env),)

    @property
    def in_flight(self) -> int:
        """Requests that can be in flight at the same time."""
        if self.kind == "openai":
            return sum(e.concurrency or self.concurrency for e in self.all_endpoints)
        return self.batch_size if self.kind in ("transformers", "vllm") else 1
