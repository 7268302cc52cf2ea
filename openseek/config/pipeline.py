"""The whole configuration of a run, one section a step."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from openseek.config.base import Bytes, Count, Section
from openseek.config.cleaning import CleaningConfig
from openseek.config.dedup import DedupConfig
from openseek.config.evaluation import BenchmarksConfig, EvaluationConfig
from openseek.config.labelling import ClassifierConfig, DomainClassifierConfig, LabellingConfig
from openseek.config.lines import LinesConfig
from openseek.config.mixture import MixStepConfig, MixtureConfig
from openseek.config.model import ExportConfig, ModelConfig
from openseek.config.quality import DecontaminationConfig, QualityConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import Sources
from openseek.config.substring import SubstringConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.config.tokens import TokenizerConfig, TokensConfig
from openseek.config.training import ScheduleConfig, TrainConfig, TrainStepConfig

Stage = Literal["foundation", "specialization", "integration"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class HeldoutConfig(Section):
    """Documents set aside before anything is trained on or made from them."""

    fraction: float = Field(
        0.02, description="Share of each category's documents that is held out.", gt=0, lt=0.5
    )
    max_bytes: Bytes = Field(
        400_000, description="Most held-out text of one category and language, in bytes.", gt=0
    )


class StageConfig(Section):
    """One stage of the curriculum: how much, of what, at which learning rate."""

    tokens: Count = Field(description="Tokens to train on in this stage.", gt=0)
    mixture: MixtureConfig = Field(description="Groups of documents and their weights.")
    schedule: ScheduleConfig = Field(description="Learning rate over the stage.")


class PipelineConfig(Section):
    """A run, from sources to report. Only `runtime` differs between a laptop and a cluster."""

    name: str = Field(description="Name of the run: its pointers and report are found by it.")
    seed: int = Field(17, description="Seed of everything that is drawn.", ge=0)
    runtime: RuntimeConfig = Field(RuntimeConfig(), description="Where it runs; in no key.")
    sources: Sources = Field(description="Where documents come from.")
    cleaning: CleaningConfig = Field(CleaningConfig(), description="Normalisation and filters.")
    dedup: DedupConfig = Field(DedupConfig(), description="Exact and fuzzy duplicates.")
    lines: LinesConfig = Field(LinesConfig(), description="Lines that occur often.")
    substring: SubstringConfig = Field(
        SubstringConfig(), description="Repeated passages inside documents."
    )
    quality: QualityConfig = Field(QualityConfig(), description="Scorers and tiers.")
    labelling: LabellingConfig | None = Field(
        None,
        description="Have a teacher label a sample, and train the classifier of linear scorers on "
        "its grades. None: neither.",
    )
    classifier: ClassifierConfig = Field(
        ClassifierConfig(), description="The classifier that learns the grades."
    )
    domain_classifier: DomainClassifierConfig | None = Field(
        None,
        description="Train a classifier of domains and label the documents with it. None: "
        "keywords, or the one that quality.domains.classifier names.",
    )
    heldout: HeldoutConfig = Field(HeldoutConfig(), description="Documents kept for evaluation.")
    decontamination: DecontaminationConfig = Field(
        DecontaminationConfig(), description="Overlap with the evaluation sets."
    )
    synthesis: SynthesisConfig = Field(SynthesisConfig(), description="Recipes and teacher.")
    tokenizer: TokenizerConfig = Field(TokenizerConfig(), description="Trained or configured.")
    tokens: TokensConfig = Field(TokensConfig(), description="Token shards.")
    sequence_length: int = Field(512, description="Tokens of a training sequence.", ge=8)
    model: ModelConfig = Field(description="Architecture.")
    train: TrainConfig = Field(TrainConfig(), description="Optimiser, precision, checkpoints.")
    stages: dict[Stage, StageConfig] = Field(description="The curriculum, in order.")
    benchmarks: BenchmarksConfig = Field(
        BenchmarksConfig(), description="Evaluation sets and where they come from."
    )
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="What is measured.")
    export: ExportConfig = Field(ExportConfig(), description="The Hugging Face folder.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            raise ValueError("use lower-case letters, digits and dashes, at most 63 of them")
        return name

    @model_validator(mode="after")
    def _check(self) -> PipelineConfig:
        if not self.sources:
            raise ValueError("sources is empty: name at least one")
        if not self.stages:
            raise ValueError(f"stages is empty: give at least one of {', '.join(STAGES)}")
        unnamed = [s.name for s in self.quality.scorers if s.kind == "linear" and not s.model]
        if unnamed and self.labelling is None:
            raise ValueError(
                f"quality.scorers: {unnamed[0]} names no model and no classifier is trained: set "
                "its model, or add the section labelling"
            )
        if unnamed and self.labelling is not None and not self.labelling.rubrics:
            raise ValueError(
                f"quality.scorers: {unnamed[0]} names no model and nobody grades: set its model, "
                "or add a rubric (additive, direct) to labelling.prompts"
            )
        for stage in self.stages:  # mistakes show up before anything runs
            self.mix_step(stage)
            self.train_step(stage)
        return self

    def learns_from_teacher(self) -> bool:
        """Tell whether the classifier of domains learns what the step `label` was told."""
        learner = self.domain_classifier
        asked = self.labelling is not None and self.labelling.asks_domains
        return learner is not None and asked and not learner.labels and learner.label == "domain"

    def stage_names(self) -> list[Stage]:
        """The configured stages in the curriculum's order."""
        return [s for s in STAGES if s in self.stages]

    def synthesis_step(self) -> SynthesisConfig:
        """Gather what the synthesise step needs: its rows are held to the documents' limits."""
        limits = self.synthesis.decontamination or self.decontamination
        return self.synthesis.model_copy(update={"decontamination": limits})

    def mix_step(self, stage: Stage) -> MixStepConfig:
        """Gather what the mix step of a stage needs."""
        section = self.stages[stage]
        return MixStepConfig(
            stage=stage,
            tokens=section.tokens,
            sequence_length=self.sequence_length,
            mixture=section.mixture,
            seed=self.seed,
        )

    def train_step(self, stage: Stage) -> TrainStepConfig:
        """Gather what the train step of a stage needs."""
        section = self.stages[stage]
        return TrainStepConfig(
            stage=stage,
            index=self.stage_names().index(stage),
            tokens=section.tokens,
            sequence_length=self.sequence_length,
            schedule=section.schedule,
            model=self.model,
            train=self.train,
        )
