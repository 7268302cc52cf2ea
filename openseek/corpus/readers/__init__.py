"""Readers: one file a format, each a stream of `Row` and `Bad` in bounded memory.

`read_blob` picks the reader of a file by the source's `reader` or the file's suffix.
"""

from openseek.corpus.readers.base import Bad, Blob, Row
from openseek.corpus.readers.dispatch import read_blob, reader_of

__all__ = ["Bad", "Blob", "Row", "read_blob", "reader_of"]
