"""How a model is spread over ranks, besides ZeRO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from openseek.config.base import Section
from openseek.config.model import ModelConfig


class ParallelConfig(Section):
    """How the model is spread over ranks, besides ZeRO."""

    expert_parallel: int = Field(
        1,
        ge=1,
        description="Ranks that share one set of experts, each holding an equal part of them. 1: "
        "every rank holds all experts.",
    )
    pipeline: int = Field(
        1, ge=1, description="Ranks that the layers are spread over. 1: every rank has all layers."
    )
    schedule: Literal["1f1b", "dualpipev"] = Field(
        "1f1b",
        description="Order of a pipeline's passes. 1f1b: one stage a rank. dualpipev: two stages "
        "a rank, from both ends, and at least 2 micro-batches a stage.",
    )

    @model_validator(mode="after")
    def _check(self) -> ParallelConfig:
        if self.pipeline > 1 and self.expert_parallel > 1:
            raise ValueError(
                f"pipeline={self.pipeline} does not go with expert_parallel="
                f"{self.expert_parallel}: a schedule runs different layers on neighbouring ranks "
                "at one time, which would wait for each other's tokens; set one of them to 1"
            )
        return self


def pipeline_obstacle(model: ModelConfig, parallel: ParallelConfig) -> tuple[str, str, str] | None:
    """Say why a model cannot be cut as asked: where, what, and how to mend it; None: it can."""
    stages = parallel.pipeline
    if stages == 1:
        return None
    if model.mtp.depth:
        return (
            f"model.mtp.depth={model.mtp.depth}",
            "MTP layers need the tokens of a pipeline's first stage and the states of its last one",
            "set model.mtp.depth to 0, or train.parallel.pipeline to 1",
        )
    if model.tie_word_embeddings and parallel.schedule == "1f1b":
        return (
            "model.tie_word_embeddings",
            "a tied output layer shares its weights with the first stage, and under 1f1b another "
            "rank holds that",
            "set train.parallel.schedule to dualpipev, whose first rank holds both ends",
        )
    cuts = stages * (2 if parallel.schedule == "dualpipev" else 1)
    n_layers = model.num_hidden_layers + 2
    if n_layers < cuts:
        return (
            f"train.parallel.pipeline={stages}",
            f"{n_layers} layers (embedding and norm among them) cannot be cut into {cuts} stages",
            "use fewer stages, or a model with more layers",
        )
    return None
