"""Fixtures of the deduplication tests."""

from shard_runs import one_process

__all__ = ["one_process"]
