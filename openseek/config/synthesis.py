"""Synthesis: the teacher, the recipes, and what a synthetic row must satisfy."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from openseek.config.base import Section, runtime
from openseek.config.quality import DecontaminationConfig

RecipeName = Literal["simple_qa", "long_cot_backward"]


class TeacherConfig(Section):
    """Who answers the prompts.

    `extractive` copies from the document by fixed rules: free, offline, deterministic, and labelled
    as such in every row. `openai` is any OpenAI-compatible endpoint (vLLM, llama.cpp, a provider).
    """

    kind: Literal["extractive", "openai"] = Field("extractive", description="Kind of teacher.")
    model: str = Field("", description="Model name that the endpoint knows; part of the identity.")
    temperature: float = Field(0.7, description="Sampling temperature.", ge=0, le=2)
    top_p: float = Field(0.95, description="Nucleus sampling mass.", gt=0, le=1)
    max_tokens: int = Field(2048, description="Tokens of one answer at most.", ge=16)
    json_mode: bool = Field(
        False, description="Ask the server for a JSON object (response_format); not all can."
    )
    base_url: str = runtime("", "Root of the endpoint, such as http://127.0.0.1:8000/v1.")
    api_key_env: str = runtime("", "NAME of the environment variable with the key. Empty: no key.")
    timeout_s: float = runtime(120.0, "Seconds for one request.", gt=0)
    max_tries: int = runtime(6, "Tries of one request on 429, 5xx and network faults.", ge=1)
    backoff_s: float = runtime(0.5, "Wait after the first fault, in seconds; doubles.", ge=0)
    max_wait_s: float = runtime(60.0, "Longest wait between tries, in seconds.", ge=0)
    concurrency: int = runtime(16, "Requests in flight, of each data worker.", ge=1)
    price_in: float = runtime(0.0, "USD per million prompt tokens, for the ledger.", ge=0)
    price_out: float = runtime(0.0, "USD per million completion tokens, for the ledger.", ge=0)

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise ValueError("base_url must start with http:// or https://")
        if parts.username or parts.password or parts.query:
            raise ValueError("base_url holds credentials or a query; name the key in api_key_env")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _endpoint(self) -> TeacherConfig:
        if self.kind == "openai" and not (self.model and self.base_url):
            raise ValueError("kind=openai needs model and base_url; set both, or kind=extractive")
        return self


class RecipeConfig(Section):
    """One recipe and the documents it is given."""

    name: RecipeName = Field(description="Recipe, see openseek.synthesis.recipes.")
    max_documents: int = Field(1000, description="Documents drawn for it at most.", ge=0)
    categories: tuple[str, ...] = Field(
        ("foundation", "code", "math"), description="Categories the documents are drawn from."
    )
    tiers: tuple[str, ...] = Field((), description="Only these quality tiers. Empty: all.")
    min_chars: int = Field(400, description="Shorter documents are not drawn.", ge=1)
    read_chars: int = Field(
        8192, description="Characters of a document the teacher sees (OpenSeek: 8,192).", ge=200
    )
    chars_per_item: int = Field(
        800, description="simple_qa: one pair for so many characters of the document.", ge=50
    )
    max_items: int = Field(
        8, description="simple_qa: pairs a document at most (Nemotron-CC: 8). Chains: segments.",
        ge=2,
    )  # fmt: skip


class VerificationConfig(Section):
    """What a synthetic row must satisfy, cheap checks first."""

    min_query_chars: int = Field(8, description="Shorter queries are rejected (4 in Chinese).")
    max_query_chars: int = Field(600, description="Longer queries are rejected.")
    min_answer_chars: int = Field(20, description="Shorter answers are rejected (8 in Chinese).")
    max_chars: int = Field(20_000, description="Longer rendered rows are rejected.")
    min_steps: int = Field(3, description="Chains of fewer steps are rejected.", ge=1)
    copy_ngram: int = Field(
        8, description="Tokens of the n-grams that measure copying from the document.", ge=2
    )
    max_copy: float = Field(
        0.6, description="Rows with a larger share of copied n-grams are rejected.", ge=0, le=1
    )
    check_copy_extractive: bool = Field(
        False,
        description="Apply max_copy to the extractive teacher too. It copies by nature, so this "
        "rejects nearly all of its rows.",
    )
    near_duplicate: float = Field(
        0.8,
        description="Rows whose query and answer are this similar (Jaccard of 3-token shingles) "
        "to an earlier row are rejected; 1: exact repeats only.",
        gt=0, le=1,
    )  # fmt: skip


class SynthesisConfig(Section):
    """Make question-answer and reasoning documents from the corpus."""

    teacher: TeacherConfig = Field(default_factory=TeacherConfig, description="Who answers.")
    recipes: tuple[RecipeConfig, ...] = Field(
        (
            RecipeConfig(name="simple_qa"),
            RecipeConfig(name="long_cot_backward", categories=("foundation", "math")),
        ),
        description="Recipes, each at most once. Empty: no synthesis.",
    )
    verification: VerificationConfig = Field(
        default_factory=VerificationConfig, description="What rows must satisfy."
    )
    decontamination: DecontaminationConfig | None = Field(
        None,
        description="What counts as an evaluation item inside a row. None: as in training "
        "documents (the run's section `decontamination`).",
    )
    inherit_tier: bool = Field(
        False,
        description="Give a row the quality tier of its document, for mixtures that select by "
        "tier. False: none, as the row itself is not scored.",
    )
    shard_documents: int = Field(
        64, description="Documents a shard: what a kill loses at most of a worker's answers.", ge=1
    )

    @model_validator(mode="after")
    def _once(self) -> SynthesisConfig:
        names = [r.name for r in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError(f"recipes {names} name one twice; merge the two entries")
        return self
