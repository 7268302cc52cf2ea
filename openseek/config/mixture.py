"""What a stage is trained on: groups of documents, their weights, and the limits of repetition."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from openseek.config.base import Count, Section

CategoryName = Literal["foundation", "code", "math", "cot"]
_CATEGORIES = ("foundation", "code", "math", "cot")
SUM_TOLERANCE = 1e-6


class GroupConfig(Section):
    """Documents that are drawn together.

    A document belongs to the most specific group that fits it: the one with most of `source`,
    `tier`, `lang` and `domain` given.
    """

    category: CategoryName | None = Field(
        None, description="Category of the documents. Empty: the group's name, or the preset's."
    )
    weight: float | None = Field(
        None, description="Share of the stage's tokens, 0 to 1. Empty: the preset's.", ge=0
    )
    source: tuple[str, ...] = Field((), description="Only these sources. Empty: all.")
    lang: tuple[str, ...] = Field(
        (), description="Only these languages; `zh` also fits zh-Hans and zh-Hant. Empty: all."
    )
    tier: tuple[str, ...] = Field((), description="Only these quality tiers. Empty: all.")
    domain: tuple[str, ...] = Field(
        (),
        description="Only documents about these, as quality.domains labels them (`general`: about "
        "none in particular). Empty: all.",
    )
    optional: bool = Field(
        False,
        description="Without any data, give the weight to the other groups of its category "
        "instead of failing.",
    )


class AuditLimits(Section):
    """Shares above which a mixture audit warns. Warnings stop nothing."""

    ranges: dict[CategoryName, tuple[float, float]] = Field(
        {
            "foundation": (0.40, 0.97),
            "code": (0.02, 0.30),
            "math": (0.01, 0.22),
            "cot": (0.0, 0.30),
        },
        description="Usual lowest and highest share of each category: what SmolLM3, Dolma 3, "
        "OLMo 3 mid-training and the challenge report's last stage span, with some room.",
    )
    source: float = Field(
        0.40, description="Largest share of one source outside chain of thought.", gt=0, le=1
    )
    cot_source: float = Field(
        0.10, description="Largest share of one source of chain of thought.", gt=0, le=1
    )


class MixtureConfig(Section):
    """Weights over groups of documents.

    `groups: {code: 0.2, math: 0.1, ...}` is short for a group of that category with that weight.
    With a preset, `groups` only changes or adds to the preset's groups of the stage.
    """

    preset: Literal["", "natural", "openseek-curriculum"] = Field(
        "",
        description="`natural`: each category in proportion to its tokens; `openseek-curriculum`: "
        "the three stages of the challenge report. Empty: `groups` says all.",
    )
    groups: dict[str, GroupConfig] = Field(
        {}, description="Name -> what it selects and its weight."
    )
    normalise: bool = Field(
        False, description="Divide the weights by their sum instead of asking for a sum of 1."
    )
    max_epochs: float = Field(
        5.0,
        description="Most passes over a group's tokens within the stage; repetition beyond about "
        "5 epochs stops paying (olmix, arXiv 2602.12237).",
        gt=0,
    )
    on_exhausted: Literal["error", "repeat", "redistribute"] = Field(
        "error",
        description="When a group has too little data for its weight: stop; go beyond max_epochs; "
        "or cap it and share the rest among the other groups.",
    )
    limits: AuditLimits = Field(AuditLimits(), description="When the audit warns.")

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("groups"), dict):
            return data
        return {**data, "groups": {n: _spelled(n, g) for n, g in data["groups"].items()}}

    @model_validator(mode="after")
    def _check(self) -> MixtureConfig:
        if self.preset == "natural" and self.groups:
            raise ValueError(
                "the preset `natural` takes its weights from the data: leave out groups, or preset"
            )
        if not self.preset:
            _check_groups(self)
        return self


class MixStepConfig(Section):
    """One stage's data: how much, of what, cut how."""

    stage: str = Field(description="Name of the stage.")
    tokens: Count = Field(description="Tokens the stage trains on.", gt=0)
    sequence_length: int = Field(
        512, description="Tokens of one sequence, T; batches hold T+1 to have the targets.", ge=8
    )
    mixture: MixtureConfig = Field(
        MixtureConfig(preset="natural"), description="Groups and weights."
    )
    seed: int = Field(0, description="Seed of the order of the sequences.", ge=0)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, data: Any) -> Any:
        """Write a preset's groups out, so that they are seen in the plan and in the step's key."""
        if not isinstance(data, dict):
            return data
        mixture = data.get("mixture")
        if isinstance(mixture, MixtureConfig):
            mixture = mixture.model_dump(exclude_unset=True)
        if isinstance(mixture, dict) and mixture.get("preset") in presets():
            mixture = expand(str(mixture["preset"]), str(data.get("stage")), mixture)
        return {**data, "mixture": mixture} if mixture is not None else data

    @model_validator(mode="after")
    def _check(self) -> MixStepConfig:
        if self.mixture.preset != "natural":
            _check_groups(self.mixture)
        if self.tokens < self.sequence_length:
            raise ValueError(
                f"{self.tokens} tokens are less than one sequence of {self.sequence_length}: "
                "raise tokens or lower sequence_length"
            )
        return self


@cache
def presets() -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Load the mixtures by name: preset -> stage -> group -> fields of `GroupConfig`."""
    import yaml

    path = Path(__file__).parent / "presets" / "mixtures.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def expand(preset: str, stage: str, mixture: dict[str, Any]) -> dict[str, Any]:
    """Merge a mixture's own groups over those of a preset's stage.

    Raises:
        ValueError: The preset has no such stage.
    """
    stages = presets()[preset]
    if stage not in stages:
        raise ValueError(
            f"the mixture preset {preset!r} has no stage {stage!r}, only {', '.join(stages)}: "
            "rename the stage or give its groups"
        )
    groups = {name: dict(fields) for name, fields in stages[stage].items()}
    for name, fields in (mixture.get("groups") or {}).items():
        own = _spelled(name, fields)
        groups[name] = {**groups.get(name, {}), **own}
    return {**mixture, "groups": groups}


def _spelled(name: str, group: Any) -> Any:
    """Write out `code: 0.2`, and the category that a group's name stands for."""
    if isinstance(group, GroupConfig):
        group = group.model_dump(exclude_unset=True)
    if isinstance(group, int | float | str) and not isinstance(group, bool):
        group = {"weight": group}
    if isinstance(group, dict) and name in _CATEGORIES:
        return {"category": name, **group}
    return group


def _check_groups(mixture: MixtureConfig) -> None:
    if not mixture.groups:
        raise ValueError("a mixture without groups: give groups with weights, or a preset")
    for name, group in mixture.groups.items():
        if group.category is None:
            raise ValueError(
                f"group {name!r} selects no category: set groups.{name}.category to one of "
                f"{', '.join(_CATEGORIES)}"
            )
        if group.weight is None:
            raise ValueError(f"group {name!r} has no weight: set groups.{name}.weight")
    weights = {name: float(group.weight or 0.0) for name, group in mixture.groups.items()}
    total = math.fsum(weights.values())
    if total <= 0:
        raise ValueError("all weights of the mixture are 0: raise one")
    if mixture.normalise or abs(total - 1.0) <= SUM_TOLERANCE:
        return
    largest = max(sorted(weights), key=weights.__getitem__)
    mend = "set normalise: true to divide them by their sum"
    if (fitting := weights[largest] + 1.0 - total) > 0:
        mend += f", or for instance {largest} = {fitting:.6g}"
    raise ValueError(
        f"the weights sum to {total:.6g}, not to 1 "
        f"({', '.join(f'{n} {w:g}' for n, w in weights.items())}): {mend}"
    )
