"""Which repeated lines or paragraphs are removed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openseek.config.base import Section, runtime


class LinesConfig(Section):
    """Lines or paragraphs that occur often, global over all shards, as menus and notices do."""

    enabled: bool = Field(
        False,
        description="Make it a step of the run, after `dedup`; the command does its work anyway.",
    )
    unit: Literal["line", "paragraph"] = Field(
        "line", description="What is compared; blank lines end a paragraph."
    )
    min_bytes: int = Field(
        60,
        description="Shorter ones are left alone, in bytes: closing brackets and headings repeat "
        "for good reasons (our choice).",
        ge=1,
    )
    max_copies: int = Field(
        6,
        description="Only what occurs more often is removed (our choice; 1 removes every "
        "repetition).",
        ge=1,
    )
    keep: Literal["first", "none"] = Field(
        "first", description="Whether the first `max_copies` stay, in order of shards and rows."
    )
    samples: int = Field(5, description="Removed lines shown in the report.", ge=0, le=100)
    partitions: int = runtime(
        0,
        "Parts in which lines are compared; 0: as many as the workers' memory asks for.",
        ge=0,
    )
