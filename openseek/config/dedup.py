"""Which documents count as duplicates, and which one of them stays."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from openseek.config.base import Section, runtime


class EarlierIndex(Section):
    """The index of an earlier run (`dedup.write_index`) whose documents count as already there."""

    path: str = Field(
        description="Output folder of that run's dedup step, or its step in a store: a path or an "
        "fsspec URL. It contains index/index.json.",
        json_schema_extra={"runtime": True},
    )
    digest: str = Field(
        "", description="Digest of its index.json. Empty: as it is when the run starts."
    )


class DedupConfig(Section):
    """Exact and near duplicates (MinHash LSH), global over all shards.

    In one grouping a pair with Jaccard similarity s becomes a candidate with probability
    1 - (1 - s^rows)^bands: .05 at .5, .56 at .7, .92 at .8, 1.0 at .9 for 14 bands of 8 rows.
    """

    exact: bool = Field(
        True, description="Remove texts that are equal up to ASCII case and spaces."
    )
    near: bool = Field(True, description="Remove near duplicates by MinHash.")
    ngram: int = Field(
        5,
        description="Words in a shingle; in Chinese and Japanese a character is a word "
        "(FineWeb: 5 words, CCI4.0: 5 characters).",
        ge=1,
        le=32,
    )
    bands: int = Field(14, description="Bands of a signature (FineWeb: 14).", ge=1, le=256)
    rows: int = Field(8, description="Hashes in a band (FineWeb: 8).", ge=1, le=64)
    groupings: int = Field(
        2,
        description="Ways in which the same hashes are grouped into bands: each one finds pairs "
        "that the others miss, for 16 bytes a band and document, no more hashes "
        "(FineWeb: 1).",
        ge=1,
        le=8,
    )
    verify: bool = Field(
        True,
        description="Compare the shingles of candidate pairs and link only those that are really "
        "similar (without it, 4 % of removed documents had a Jaccard similarity below .5).",
    )
    min_jaccard: float = Field(
        0.6,
        description="Smallest similarity of a verified pair. Of the pairs of similarity 0.7 or "
        "more, 99.4 % are found at 0.5 and 0.6 and 99.2 % at 0.7 (CCI4.0's), and 77, 84 and 100 % "
        "of the documents that are linked have such a twin (230 MB of prose and code).",
        gt=0,
        le=1,
    )
    seed: int = Field(1, description="Seed of the hash functions.", ge=0)
    priority: tuple[str, ...] = Field(
        (), description="Sources, best first: of duplicates the one from the best source stays."
    )
    prefer: Literal["quality", "longest", "any"] = Field(
        "quality",
        description="Which stays among equals. `quality`: the highest score, else the most prose "
        "by statistics of the text, then the longest; then the smallest id.",
    )
    write_index: bool = Field(
        False, description="Write an index of what is kept, for later runs: 384 bytes a document."
    )
    against: tuple[EarlierIndex, ...] = Field(
        (), description="Indexes of earlier runs: what they have is a duplicate here."
    )
    samples: int = Field(10, description="Pairs of duplicates shown in the report.", ge=0, le=100)
    partitions: int = runtime(
        0,
        "Parts in which band keys are compared; 0: as many as the workers' memory asks for.",
        ge=0,
    )

    @property
    def keys(self) -> int:
        """Band keys of a document."""
        return self.bands * self.groupings

    @model_validator(mode="after")
    def _does_something(self) -> DedupConfig:
        if self.bands * self.rows > 2048:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows are {self.bands * self.rows} hashes a "
                "document: at most 2048; lower dedup.bands or dedup.rows"
            )
        if len(set(self.priority)) != len(self.priority):
            raise ValueError("dedup.priority names a source twice: keep the first")
        return self
