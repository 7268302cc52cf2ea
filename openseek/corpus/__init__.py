"""Corpora in: sources, readers, and the one schema of a document.

- `document`: the Document schema; `shards`: documents on disk; `quarantine`: rows set aside.
- `fetch`, `locate`, `snapshot`: get a source's files and pin their content.
- `parts`, `read`, `readers/`: divide files into bounded parts and read them.
- `step`: the ingest step; `presets/`: well-known sources by name.
"""

from openseek.corpus.document import CATEGORIES, DOCUMENT_SCHEMA, Category, document_id
from openseek.corpus.fetch import SourceMissingError
from openseek.corpus.quarantine import Quarantine, check_bad_fraction
from openseek.corpus.shards import (
    DocumentWriter,
    iter_batches,
    make_document,
    read_documents,
    write_documents,
)
from openseek.corpus.snapshot import fingerprint, snapshot_sources

__all__ = [
    "CATEGORIES",
    "DOCUMENT_SCHEMA",
    "Category",
    "DocumentWriter",
    "Quarantine",
    "SourceMissingError",
    "check_bad_fraction",
    "document_id",
    "fingerprint",
    "iter_batches",
    "make_document",
    "read_documents",
    "snapshot_sources",
    "write_documents",
]
