"""Deduplication: exact by digest, near by MinHash LSH, passages by hash; global over all shards.

- `kernels`: compiled loops over text (shingles, signatures) and graphs (union-find)
- `minhash`: signatures, band keys, digests; `graph`: pairs, clusters, which document stays
- `duplicates`: all of it on texts in memory
- `shards`: the passes over shards; `step`: the step that runs them
- `windows`, `substring`: passages that occur twice; `substring_shards`, `substring_step` likewise

Alone:

    from openseek.dedup import find_duplicates
    find_duplicates(["one text …", "One  text …"]).clusters()

The names are loaded when they are first used, since the compiled parts take a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openseek.dedup.duplicates import Duplicates, find_duplicates
    from openseek.dedup.minhash import exact_digest, minhash_signatures, true_jaccard
    from openseek.dedup.substring import Cut, find_substrings

_HOMES = {
    "Cut": "substring",
    "Duplicates": "duplicates",
    "exact_digest": "minhash",
    "find_duplicates": "duplicates",
    "find_substrings": "substring",
    "minhash_signatures": "minhash",
    "true_jaccard": "minhash",
}

__all__ = [
    "Cut",
    "Duplicates",
    "exact_digest",
    "find_duplicates",
    "find_substrings",
    "minhash_signatures",
    "true_jaccard",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"openseek.dedup.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
