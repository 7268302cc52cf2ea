"""The tokenizer and the token shards."""

from __future__ import annotations

from pydantic import Field, model_validator

from openseek.config.base import Bytes, Count, Section


class TokenizerConfig(Section):
    """A byte-level BPE trained on the run's own corpus, or one that exists already."""

    path: str = Field(
        "",
        description="Folder or hub id of an existing Hugging Face tokenizer to use as it is. "
        "Empty: train one on the corpus.",
    )
    revision: str = Field(
        "", description="Commit of the hub repository, when `path` is a hub id. Empty: the newest."
    )
    digest: str = Field(
        "",
        description="sha256 (or its beginning) that tokenizer.json at `path` must have. Empty: "
        "whatever lies there is taken.",
    )
    vocab_size: Count = Field(
        8192,
        description="Entries of the vocabulary, with the 256 bytes and the special tokens. 8,192 "
        "suits a corpus of 20-100 MB and a model of a few million parameters.",
        ge=300,
        le=1_000_000,
    )
    sample: Bytes = Field(
        8_000_000,
        description="Text to train on, in bytes, shared equally by the categories and within each "
        "by its languages (8MB: a vocabulary of 8,192 in under 10 s on two cores).",
        gt=0,
    )
    document_bytes: Bytes = Field(
        16_000,
        description="Most bytes of one document in the sample, so that no long one dominates.",
        gt=0,
    )
    shards_per_source: int = Field(
        8, description="Shards of one source that are looked at for the sample.", ge=1
    )
    min_frequency: int = Field(
        2, description="Times a pair must occur in the sample to become an entry.", ge=1
    )
    bos_token: str = Field(
        "",
        description="Token that begins a document. Empty: <|bos|> when trained, else what the "
        "tokenizer declares.",
    )
    eos_token: str = Field(
        "",
        description="Token that ends a document. Empty: <|eos|> when trained, else what the "
        "tokenizer declares.",
    )
    pad_token: str = Field(
        "",
        description="Token for padding. Empty: <|pad|> when trained, else what the tokenizer "
        "declares, else its end token.",
    )

    @model_validator(mode="after")
    def _check(self) -> TokenizerConfig:
        if not self.path and (self.digest or self.revision):
            raise ValueError(
                "digest and revision belong to an existing tokenizer: set path, or leave them out"
            )
        marks = self.marks()
        if not self.path and len(set(marks)) < len(marks):
            raise ValueError(
                f"bos_token, eos_token and pad_token must differ, got {marks}: rename one"
            )
        return self

    def marks(self) -> tuple[str, str, str]:
        """Name the tokens that begin, end and pad in a tokenizer that is trained."""
        return (
            self.bos_token or "<|bos|>",
            self.eos_token or "<|eos|>",
            self.pad_token or "<|pad|>",
        )


class TokensConfig(Section):
    """How documents become token shards."""

    bos: bool = Field(
        True,
        description="Put the begin token before every document, as OpenSeek's preprocessing does.",
    )
    eos: bool = Field(
        True,
        description="Put the end token after every document, as OpenSeek's preprocessing does.",
    )

    domains: bool = Field(
        False,
        description="Note each document's domain (`meta.domain`, from the step score), so that "
        "mixtures can select by it and the report counts tokens by it. The order of documents, and "
        "what is drawn by a mixture that does not select by domain, stay the same.",
    )

    @model_validator(mode="after")
    def _check(self) -> TokensConfig:
        if not (self.bos or self.eos):
            raise ValueError(
                "without bos and eos a model never sees where a document ends: set one of them"
            )
        return self
