"""Grading a sample of documents with a teacher, and the classifiers that learn from labels."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from openseek.config.base import Section, runtime
from openseek.config.teachers import TeacherConfig

RubricStyle = Literal["additive", "direct"]
PromptStyle = Literal["additive", "direct", "domain"]
Language = Literal["en", "zh"]


class LabellingConfig(Section):
    """A sample of the corpus and who grades it (0 to 5, educational value) or names its domain."""

    teacher: TeacherConfig | None = Field(
        None,
        description="An OpenAI-compatible endpoint (kind: openai). None: text statistics, offline, "
        "recorded as `heuristic` in every label.",
    )
    prompts: tuple[PromptStyle, ...] = Field(
        ("direct",),
        description="What is asked of each document. Rubrics: `additive` counts criteria that hold "
        "(FineWeb-Edu), `direct` picks the level that fits; both: the mean, rounded. `domain`: "
        "what it is about, one name of `domains`.",
        min_length=1,
    )
    domains: dict[str, str] = Field(
        {},
        description="Names that the prompt `domain` offers -> what belongs to each, in a few "
        "words (may be empty). `general` is always among them, for what fits none. Empty: the 17 "
        "of the keyword lexicon.",
    )
    documents: int = Field(
        2000, description="Documents drawn, the same number of each language.", ge=1
    )
    languages: tuple[Language, ...] = Field(
        ("en", "zh"), description="Languages drawn from, with prompts in their own.", min_length=1
    )
    categories: tuple[str, ...] = Field(
        ("foundation", "code", "math"), description="Categories the documents are drawn from."
    )
    min_chars: int = Field(100, description="Shorter documents are not drawn.", ge=1)
    read_chars: int = Field(
        8192, description="Characters of a document that are graded (CCI4.0: 8,192).", ge=200
    )
    shard_documents: int = Field(64, description="Documents in one file of labels.", ge=1)
    cache: str = runtime("", "Folder or URL of the answers. Empty: as `teacher.cache` says.")

    @model_validator(mode="after")
    def _check(self) -> LabellingConfig:
        if self.teacher is not None and self.teacher.kind == "extractive":
            raise ValueError(
                "teacher.kind=extractive cannot grade; use kind=openai or a local model, or no "
                "teacher at all for the offline heuristic"
            )
        for name in ("prompts", "languages"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}={list(values)} names one twice; name each once")
        for name, gloss in self.domains.items():
            if not re.fullmatch(r"\w[\w .&/-]{0,59}", name) or "\n" in gloss:
                raise ValueError(
                    f"domains: {name!r} is no name for a prompt; use at most 60 letters, digits, "
                    "blanks and . & / _ - in it, and one line to describe it"
                )
        if self.domains and not self.asks_domains:
            raise ValueError("domains without the prompt that offers them; add `domain` to prompts")
        return self

    @property
    def asked(self) -> TeacherConfig | None:
        """The teacher with the section's own cache, where it names one."""
        if self.teacher is None or not self.cache:
            return self.teacher
        return self.teacher.model_copy(update={"cache": self.cache})

    @property
    def rubrics(self) -> tuple[RubricStyle, ...]:
        """The prompts that ask for a grade."""
        return tuple(style for style in self.prompts if style != "domain")

    @property
    def asks_domains(self) -> bool:
        """Whether the teacher names domains."""
        return "domain" in self.prompts


class LinearTrainingConfig(Section):
    """The features of a linear classifier over hashed n-grams, and how it learns."""

    bucket_bits: int = Field(
        20, description="log2 of the hashed features (20: a model of 25 MB).", ge=10, le=26
    )
    word_ngrams: int = Field(2, description="Longest n-gram of words.", ge=1, le=5)
    cjk_ngrams: int = Field(3, description="Longest n-gram of Chinese characters.", ge=1, le=5)
    char_ngrams: tuple[int, int] = Field(
        (0, 0),
        description="Shortest and longest character n-gram inside of words; (0, 0): none. "
        "(3, 5) reads misspelt and inflected words better, at a third of the speed.",
    )
    read_chars: int = Field(16_384, description="Characters of a document that are read.", ge=16)
    rate: float = Field(1.0, description="Step size of Adagrad.", gt=0)
    epochs: int = Field(10, description="Passes over the sample at most.", ge=1)
    patience: int = Field(
        2, description="Passes without a lower validation loss after which training stops.", ge=1
    )
    validation: float = Field(
        0.1, description="Share of the labels that decides which pass is kept.", gt=0, lt=0.5
    )
    test: float = Field(
        0.2, description="Share of the labels held out for the reported agreement.", gt=0, lt=0.5
    )

    @model_validator(mode="after")
    def _check(self) -> LinearTrainingConfig:
        low, high = self.char_ngrams
        if not (low == high == 0 or 1 <= low <= high <= 8):
            raise ValueError(f"char_ngrams={low},{high} must be 0,0 or rise within 1 to 8")
        return self


class ClassifierConfig(LinearTrainingConfig):
    """A linear classifier over hashed n-grams that learns the teacher's grades."""

    keep_from: int = Field(
        3, description="Grade from which a document counts as good, for F1 (FineWeb-Edu: 3).", ge=1
    )


class DomainClassifierConfig(LinearTrainingConfig):
    """A linear classifier over hashed n-grams that learns names, such as domains, from a column."""

    labels: str = runtime(
        "",
        "File or folder of labelled rows (parquet, JSONL, .gz, .zst); its content enters the "
        "step's key, its place not. Empty: the domains that the teacher names, where `labelling` "
        "has the prompt `domain` and `label` is `domain`; else the run's own documents, before "
        "they are scored.",
    )
    text: str = Field("text", description="Column with the text.")
    label: str = Field(
        "domain",
        description="Column with the label; `a.b` reaches into an object, also one written as "
        "JSON (`meta.domain`). `source` and `category` are labels too.",
    )
    per_label: int = Field(
        2000,
        description="Rows of one label that are learned from at most, drawn by their ids: more "
        "balance between the labels, and bounded memory.",
        ge=10,
    )
    least_rows: int = Field(
        20, description="Labels with fewer rows are left out, and counted.", ge=3
    )
    bucket_bits: int = Field(
        18,
        description="log2 of the hashed features (18, 17 labels: a model of 9 MB).",
        ge=10,
        le=26,
    )
    read_chars: int = Field(8192, description="Characters of a document that are read.", ge=16)
