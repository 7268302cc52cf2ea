"""Quality scoring, the fluency filter, tiers, and decontamination."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from openseek.config.base import Bytes, Section, runtime


class HeuristicScorerConfig(Section):
    """Explainable text statistics: no model, no download."""

    kind: Literal["heuristic"] = "heuristic"
    name: str = Field(
        "heuristic", description="Name of the raw score in meta.scores.", min_length=1
    )


class TransformerScorerConfig(Section):
    """A sequence-classification transformer (FineWeb-Edu, CCI3-HQ, XLM-R regressors)."""

    kind: Literal["transformer"]
    name: str = Field(description="Name of the raw score in meta.scores.", min_length=1)
    model: str = Field(
        description="Folder or hub id of the model and its tokenizer. The content of a folder "
        "enters the step's key too.",
        min_length=1,
    )
    revision: str = Field("main", description="Hub revision; part of the step's identity.")
    max_tokens: int = Field(
        512, description="Tokens of a document that are read (FineWeb-Edu: 512).", ge=8
    )
    low: float = Field(0.0, description="Raw scores are clamped from below to this (rubric 0).")
    high: float = Field(5.0, description="Raw scores are clamped from above to this (rubric 5).")
    batch_size: int = runtime(16, "Documents in one forward pass.", ge=1)
    device: str = runtime("", "Torch device. Empty: cuda where there is one, else cpu.")

    @model_validator(mode="after")
    def _range(self) -> TransformerScorerConfig:
        if self.low >= self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}; swap or mend them")
        return self


class FastTextScorerConfig(Section):
    """A supervised fastText model; the score is the probability of one label."""

    kind: Literal["fasttext"]
    name: str = Field(description="Name of the raw score in meta.scores.", min_length=1)
    model: str = Field(description="Path of the .bin or .ftz file.", min_length=1)
    label: str = Field("__label__hq", description="Label whose probability is the score.")
    max_chars: int = Field(4096, description="Characters of a document that are read.", ge=16)


class LinearScorerConfig(Section):
    """A classifier that `openseek data train-classifier`, or this run, trained on grades."""

    kind: Literal["linear"]
    name: str = Field(description="Name of the raw score in meta.scores.", min_length=1)
    model: str = runtime(
        "",
        "Folder of the classifier; its content enters the step's key, its place not. Empty: the "
        "one that this run trains (section `labelling`).",
    )


ScorerConfig = Annotated[
    HeuristicScorerConfig | LinearScorerConfig | TransformerScorerConfig | FastTextScorerConfig,
    Field(discriminator="kind"),
]


class DomainsConfig(Section):
    """What a document is about, by weighted keywords or a classifier; kept in `meta.domain`."""

    enabled: bool = Field(True, description="Label every document with its domain.")
    lexicon: str = runtime(
        "",
        "YAML of {domain: {en: words, zh: words}} in place of our own; its content enters the "
        "step's key, its place not.",
    )
    classifier: str = runtime(
        "",
        "Folder of a classifier that `openseek data train-domains` wrote, in place of keywords; "
        "its content enters the step's key, its place not. Empty: the one that this run trains "
        "(section `domain_classifier`), else keywords.",
    )
    min_probability: float = Field(
        0.5,
        description="Probability of the classifier's first label below which a document is "
        "`general`.",
        ge=0, le=1,
    )  # fmt: skip
    read_chars: int = Field(
        8192, description="Characters of a document in which keywords are sought.", ge=64
    )
    min_evidence: float = Field(
        3.0,
        description="Different keywords (a phrase counts by its words, repeats ever less) below "
        "which a document is `general`.",
        ge=0,
    )
    margin: float = Field(
        1.2, description="How many times the second domain's evidence the first must have.", ge=1
    )


class FluencyConfig(Section):
    """The perplexity of each document, and the cut of the strangest ones of each domain.

    Unless `model` names a causal language model, a character n-gram model of the corpus itself is
    used. Documents are split in two folds by id; each is read by the model trained on the other
    fold, so that no document vouches for itself.
    """

    enabled: bool = Field(True, description="Measure bits per character and drop the outliers.")
    quantile: float = Field(
        0.995,
        description="Documents above this quantile of their domain are dropped (CCI4.0: 0.995).",
        gt=0.5, le=1,
    )  # fmt: skip
    group: Literal["domain", "category"] = Field(
        "domain",
        description="Whose quantile: that of the document's domain (CCI4.0) or of its category; "
        "always within a language.",
    )
    min_documents: int = Field(
        400,
        description="Groups of fewer documents share one cut for all of them in a language: 99.5 % "
        "of less than 200 is nothing to cut.",
        ge=1,
    )
    model: str = runtime(
        "",
        "Folder or hub id of a causal language model (an export of ours, or another) to read with "
        "instead; a folder enters the step's key by its content, a hub id by its name.",
    )
    max_tokens: int = Field(
        1024, description="Tokens of a document that such a model reads (CCI4.0: 4,096).", ge=16
    )
    batch_size: int = runtime(8, "Documents in one forward pass of such a model.", ge=1)
    order: int = Field(4, description="Length of the n-grams, in characters.", ge=2, le=6)
    train_bytes: Bytes = Field(
        64_000_000, description="Text the model is trained on at most, in bytes, over all shards."
    )
    read_chars: int = Field(
        16_384,
        description="Characters of a document that are read (CCI4.0 reads 4,096 tokens).",
        ge=256,
    )
    table_bits: int = Field(
        22, description="log2 of the entries of the hashed count table (22: 16 MB).", ge=12, le=28
    )


class QualityConfig(Section):
    """Scores, the ensemble over them, the fluency filter and the tiers."""

    scorers: tuple[ScorerConfig, ...] = Field(
        (HeuristicScorerConfig(),), description="Scorers of the ensemble, each with its own name."
    )
    bins: int = Field(
        20, description="Equal-mass bins a language's raw scores are put in (CCI4.0: 20).", ge=2
    )
    medium_from: float = Field(
        1 / 3, description="Quantile of language and category where tier medium begins.", ge=0, le=1
    )
    high_from: float = Field(
        2 / 3, description="Quantile of language and category where tier high begins.", ge=0, le=1
    )
    domains: DomainsConfig = Field(default_factory=DomainsConfig, description="Domain labels.")
    fluency: FluencyConfig = Field(default_factory=FluencyConfig, description="Perplexity filter.")

    @model_validator(mode="after")
    def _consistent(self) -> QualityConfig:
        labels = [s.name for s in self.scorers]
        if not labels:
            raise ValueError("scorers is empty; name at least one, such as {kind: heuristic}")
        if len(set(labels)) < len(labels) or "bits_per_char" in labels:
            raise ValueError(f"scorer names {labels} must differ and not be bits_per_char; rename")
        if self.fluency.enabled and self.fluency.group == "domain" and not self.domains.enabled:
            raise ValueError(
                "fluency.group=domain needs domains.enabled; or set fluency.group=category"
            )
        if self.medium_from > self.high_from:
            raise ValueError(
                f"medium_from={self.medium_from} is above high_from={self.high_from}; swap them"
            )
        return self


class DecontaminationConfig(Section):
    """What counts as an evaluation item inside a training document.

    Words are runs of letters and digits, lower-cased; each Chinese character stands alone.
    """

    word_ngram: int = Field(
        13, description="Words in a row that make a hit (GPT-3, appendix C: 13).", ge=3, le=64
    )
    char_ngram: int = Field(
        20, description="Characters in a row that make a hit in mostly Chinese items.", ge=5, le=64
    )
    min_words: int = Field(
        8,
        description="Shorter items in words are ignored; from here to word_ngram they match whole.",
        ge=3,
    )
    min_chars: int = Field(
        12, description="The same for mostly Chinese items, in characters.", ge=5
    )
    min_item_share: float = Field(
        0.0,
        description="Share of an item's n-grams a document must hold to be dropped; 0: any hit.",
        ge=0, le=1,
    )  # fmt: skip
    template_items: int = Field(
        20,
        description="N-grams of more items than this are prompt templates and never match.",
        ge=1,
    )
    heldout_ngram: int = Field(
        13, description="Tokens of the n-grams that compare with held-out documents.", ge=3, le=64
    )
    heldout_overlap: float = Field(
        0.5,
        description="Share of the longer one's n-grams in common from which a training document is "
        "a near-duplicate of a held-out one and dropped.",
        gt=0, le=1,
    )  # fmt: skip
    heldout_contained: float = Field(
        0.8,
        description="Share of a held-out document's n-grams from which a longer training document "
        "that holds them is dropped.",
        gt=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _lengths(self) -> DecontaminationConfig:
        for short, full in (("min_words", "word_ngram"), ("min_chars", "char_ngram")):
            if getattr(self, short) > getattr(self, full):
                raise ValueError(
                    f"{short}={getattr(self, short)} is above {full}={getattr(self, full)}; "
                    f"lower {short}"
                )
        return self
