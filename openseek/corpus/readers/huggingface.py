"""Datasets of a Hugging Face hub (or a local folder in its layout), streamed.

Needs the hub to be reachable; `path: hf://datasets/OWNER/NAME/**/*.parquet` reads the same files
through fsspec, in more parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from openseek.config.sources import HubConfig, SourceConfig
from openseek.corpus.readers.base import Bad, Pending, Row, RowMapper
from openseek.corpus.readers.contents import fetch_texts
from openseek.errors import ConfigError, DataError, OpenSeekError, TransientError


def resolve_revision(hub: HubConfig) -> str:
    """Return the commit that a branch or tag stands for; a commit stands for itself.

    Raises:
        TransientError: The hub does not answer.
        ConfigError: There is no such dataset, or it is not to be had with this token.
    """
    if len(hub.revision) == 40 and all(c in "0123456789abcdef" for c in hub.revision):
        return hub.revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(hub.id, revision=hub.revision, timeout=20).sha)
    except Exception as error:
        raise _hub_error(error, hub) from error


def count_shards(hub: HubConfig, revision: str) -> int:
    """Return into how many files the dataset is divided."""
    return int(getattr(_load(hub, revision), "num_shards", 1) or 1)


def read_hub(
    source: SourceConfig, revision: str, part: int = 0, parts: int = 1
) -> Iterator[Row | Bad]:
    """Read one of `parts` parts of a dataset, row by row.

    Raises:
        DataError: No row has the text column.
        TransientError: The hub does not answer.
    """
    if source.hub is None:
        raise ConfigError("not a hub source", where=source.name, mend="Set its `hub`.")
    yield from fetch_texts(_rows(source, source.hub, revision, part, parts), source)


def _rows(
    source: SourceConfig, hub: HubConfig, revision: str, part: int, parts: int
) -> Iterator[Row | Bad | Pending]:
    dataset = _load(hub, revision)
    if parts > 1:
        dataset = dataset.shard(num_shards=parts, index=part)
    prefix = f"{hub.subset or 'default'}/{hub.split}"
    mapper = RowMapper(source.columns, hub.id)
    try:
        for i, row in enumerate(dataset):
            yield mapper.map(row, f"{prefix}#part={part}/{parts},row={i}")
    except OpenSeekError:
        raise
    except Exception as error:
        raise _hub_error(error, hub) from error
    mapper.check()


def _load(hub: HubConfig, revision: str) -> Any:
    from datasets import load_dataset

    local = os.path.isdir(hub.id)
    try:
        return load_dataset(
            hub.id, hub.subset or None, split=hub.split, streaming=True,
            revision=None if local else revision,
        )  # fmt: skip
    except Exception as error:
        raise _hub_error(error, hub) from error


def _hub_error(error: Exception, hub: HubConfig) -> OpenSeekError:
    kind = f"{type(error).__name__}: {str(error)[:300]}"
    where = f"hub {hub.id}"
    if type(error).__name__ in (
        "RepositoryNotFoundError",
        "GatedRepoError",
        "RevisionNotFoundError",
        "DatasetNotFoundError",
    ):
        return ConfigError(
            kind,
            where=where,
            mend="Check the id and revision, and $HF_TOKEN where the dataset is gated.",
        )
    if isinstance(error, ValueError | TypeError | KeyError):
        return DataError(kind, where=where, mend="Check the subset and split.")
    return TransientError(
        kind, where=where, mend="Check the network, or download the dataset and give its `path`."
    )
