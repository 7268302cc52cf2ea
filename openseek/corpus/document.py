"""The one schema of a document, from ingest to tokens.

Shards are parquet (zstd, row groups of at most 2,000 rows) with exactly these columns, in this
order, on every step; a step that learns something about a document writes it into `meta` (a JSON
object) or into `score` and `tier`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, get_args

import pyarrow as pa

Category = Literal["foundation", "code", "math", "cot"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # 32 hex digits, see `document_id`
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # name of the configured source
        pa.field("category", pa.string(), nullable=False),  # one of CATEGORIES
        pa.field("lang", pa.string(), nullable=False),  # BCP 47: en, zh-Hans, zh-Hant, code, und
        pa.field("license", pa.string(), nullable=False),  # SPDX expression, or "unknown"
        pa.field("origin", pa.string(), nullable=False),  # where in the source: file, URL, row
        pa.field(
            "tier", pa.string(), nullable=False
        ),  # quality bucket: high, medium, low; "" yet unset
        pa.field("score", pa.float32(), nullable=True),  # quality in [0, 1]; null: not scored
        pa.field("meta", pa.string(), nullable=False),  # JSON object: lineage, labels, raw scores
    ]
)


def document_id(source: str, origin: str, text: str) -> str:
    """Derive a stable id from where a document comes from and what it says."""
    digest = hashlib.sha256("\x00".join((source, origin, text)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def domain_of(meta: str | None) -> str:
    """Read the domain that the step `score` wrote into a document's `meta`; empty without one."""
    if not meta or '"domain"' not in meta:
        return ""
    try:
        found = json.loads(meta)
    except ValueError:
        return ""
    domain = found.get("domain") if isinstance(found, dict) else None
    return domain if isinstance(domain, str) else ""
