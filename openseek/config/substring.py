"""Which repeated passages inside documents are removed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from openseek.config.base import Section, runtime

_PRESETS = Path(__file__).parent / "presets" / "substring.yaml"


class SubstringConfig(Section):
    """Exact substrings: passages that occur twice or more, across documents and within one.

    A passage counts when `min_length` units in a row are equal to others somewhere in the corpus.
    """

    enabled: bool = Field(
        False,
        description="Make it a step of the run, after `dedup`; the command does its work anyway.",
    )
    preset: Literal["", "bytes-800", "tokens-50", "bytes-200"] = Field(
        "bytes-800",
        description="Unit and length by name; what is given beside it wins. Empty: no preset.",
    )
    unit: Literal["bytes", "words"] = Field(
        "bytes",
        description="What is counted: bytes of UTF-8, or words, where a mark or a Chinese or "
        "Japanese character is a word too and white space makes no difference.",
    )
    min_length: int = Field(
        800, description="Shortest repeated passage, in units.", ge=8, le=100_000
    )
    keep: Literal["first", "none"] = Field(
        "first",
        description="Which copy stays: the first, in the order of shards and rows, or none.",
    )
    remove: Literal["spans", "documents"] = Field(
        "spans",
        description="Cut the repeated passages out, or drop whole documents with too much of them.",
    )
    max_duplicated: float = Field(
        0.5,
        description="With `remove: documents`, the largest share of a document's bytes that may "
        "lie in repeated passages (our choice: more than half is mostly a copy).",
        ge=0,
        le=1,
    )
    snap: Literal["character", "word", "line"] = Field(
        "word",
        description="What a cut never splits; cuts only shrink to its ends. A word of more than "
        "64 bytes is split.",
    )
    seed: int = Field(1, description="Seed of the hash functions.", ge=0)
    samples: int = Field(5, description="Cut passages shown in the report.", ge=0, le=100)
    partitions: int = runtime(
        0,
        "Parts in which fingerprints are compared; 0: as many as the workers' memory asks for.",
        ge=0,
    )

    @model_validator(mode="before")
    @classmethod
    def _merge_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset = data.get("preset", "bytes-800")
        return {**_presets().get(preset, {}), **data} if isinstance(preset, str) else data


@cache
def _presets() -> dict[str, dict[str, Any]]:
    import yaml

    return dict(yaml.safe_load(_PRESETS.read_text(encoding="utf-8")))
