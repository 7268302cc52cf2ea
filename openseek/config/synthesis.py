"""Synthesis: the recipes, their documents, and all that makes rows of them."""

from __future__ import annotations

from pydantic import Field, model_validator

from openseek.config.base import Section
from openseek.config.quality import DecontaminationConfig
from openseek.config.recipes import (
    BY_RULE,
    KnowledgeConfig,
    RecipeConfig,
    RecipeName,
    RetrievalConfig,
)
from openseek.config.teachers import TeacherConfig
from openseek.config.verification import VerificationConfig

__all__ = ["RecipeConfig", "RecipeName", "SynthesisConfig"]


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
    knowledge: KnowledgeConfig = Field(
        KnowledgeConfig(), description="Seed problems, topics and key points."
    )
    retrieval: RetrievalConfig = Field(
        RetrievalConfig(), description="The index that long_cot_rag searches."
    )
    annotations: str = Field(
        "",
        description="annotations.jsonl of an earlier step, for recipes that select by `suits` or "
        "`topics`. Empty: of `annotate` in this step.",
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

    digests: dict[str, str] = Field(
        {},
        description="Digests of the files and folders that are named by path; taken when a run "
        "starts, so that another content is another result.",
    )

    @model_validator(mode="after")
    def _once(self) -> SynthesisConfig:
        names = [r.name for r in self.recipes]
        if len(set(names)) < len(names):
            raise ValueError(f"recipes {names} name one twice; merge the two entries")
        for i, recipe in enumerate(self.recipes):
            for need in recipe.needs:
                if need not in names[:i] and not (need == "annotate" and self.annotations):
                    other = "synthesis.annotations" if need == "annotate" else "its rows_from"
                    raise ValueError(
                        f"{recipe.name} goes on from {need}, which is not listed before it; list "
                        f"{need} first, or set {other} to the output of an earlier step"
                    )
        return self

    @model_validator(mode="after")
    def _by_rule(self) -> SynthesisConfig:
        """The extractive teacher has rules for few recipes."""
        if self.teacher.kind == "extractive":
            others = [r.name for r in self.recipes if r.name not in BY_RULE]
            if others:
                raise ValueError(
                    f"the extractive teacher cannot answer {', '.join(others)}, only "
                    f"{' and '.join(BY_RULE)}; give teacher.kind openai with base_url and model"
                )
        return self
