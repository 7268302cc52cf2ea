"""Token ids back to text, by a tokenizer's vocabulary: `tokenizer.json` or a `.tiktoken` list.

A `.tiktoken` file has a token in base 64 and its id on each line; ids beyond it are special tokens
(ends of documents), which are left out. Nothing that a tokenizer's repository holds is executed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openseek.corpus.remote import join
from openseek.corpus.streams import is_url, open_bytes
from openseek.errors import ConfigError, DataError

NAMES = ("tokenizer.json", "qwen.tiktoken", "tokenizer.tiktoken")
"""Files that a folder or a hub's repository is searched for, in this order."""
SPECIAL = 4096
"""So many ids after a .tiktoken list count as special tokens (Qwen1 has 208); higher ones are an
error: the tokenizer is not the one that made the tokens."""


class Detokenizer:
    """Turn token ids into text.

    Args:
        data: Content of a tokenizer.json or .tiktoken file.
        where: Its name, for messages.

    Raises:
        DataError: It is neither.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._pieces: list[bytes] = []
        self._tokenizer: Any = None
        try:
            if where.endswith(".json"):
                from tokenizers import Tokenizer

                self._tokenizer = Tokenizer.from_str(data.decode("utf-8"))
                self.size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
            else:
                self._pieces = _tiktoken(data)
                self.size = len(self._pieces)
        except Exception as error:  # tokenizers raises plain Exceptions
            raise DataError(
                f"not a tokenizer: {error}",
                where=where, mend="Give a tokenizer.json or a .tiktoken file.",
            ) from error  # fmt: skip

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of a document's tokens.

        Raises:
            ValueError: An id is not in the vocabulary, or the bytes are not UTF-8.
        """
        ids = np.asarray(ids)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.size:
            raise ValueError(f"an id is not below the vocabulary's {self.size}")
        if self._tokenizer is not None:
            return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=True))
        return b"".join(map(self._pieces.__getitem__, ids.tolist())).decode("utf-8")


def _tiktoken(data: bytes) -> list[bytes]:
    table: dict[int, bytes] = {}
    for line in data.splitlines():
        if line.strip():
            token, number = line.split()
            table[int(number)] = base64.b64decode(token, validate=True)
    if sorted(table) != list(range(len(table))) or not table:
        raise ValueError("its ids do not count up from 0")
    return [table[i] for i in range(len(table))] + [b""] * SPECIAL


@functools.lru_cache(4)
def load_detokenizer(place: str) -> Detokenizer:
    """Load a tokenizer from a folder, a file, a URL or the id of a model on the hub.

    Raises:
        ConfigError: There is none, or access is denied.
        TransientError: The place does not answer.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        tried = [str(path / name) for name in NAMES if (path / name).is_file()]
        tried += [str(p) for p in sorted(path.glob("*.tiktoken")) if str(p) not in tried]
    elif is_url(place) or path.is_file() or path.suffix:
        tried = [place]
    elif place.count("/") == 1 and not place.startswith((".", "/", "~")):
        tried = [join(f"hf://{place}", name) for name in NAMES]
    else:
        tried = [place]
    for name in tried:
        try:
            with open_bytes(name) as stream:
                return Detokenizer(stream.read(), name)
        except DataError as error:
            if "not a tokenizer" in error.what:
                raise
    raise ConfigError(
        "no tokenizer there",
        where=place, mend=f"Give a folder with {' or '.join(NAMES)}, or such a file.",
    )  # fmt: skip
