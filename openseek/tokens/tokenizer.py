"""A tokenizer folder of Hugging Face, used without transformers.

`tokenizer.json` holds the model; `tokenizer_config.json` names the tokens that begin, end and pad.
Workers import only the `tokenizers` library, which takes milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from openseek.artifacts.files import FileSet
from openseek.errors import DataError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back.

    Text is only ever text: a document that spells out a special token gets the pieces of its
    spelling, never the token itself.

    Attributes:
        vocab_size: One more than the largest id.
        bos_id: Id of the token that begins a document, if there is one.
        eos_id: Id of the token that ends a document, if there is one.
        pad_id: Id of the token for padding; the end token where no other is declared.
        digest: sha256 over the model and the three ids.
    """

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    digest: str
    _backend: Any = field(repr=False, compare=False)

    def encode_batch(
        self, texts: Sequence[str], *, parallel: bool = False
    ) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Turn texts into ids, without any special token.

        Args:
            texts: Documents.
            parallel: Use all cores of this process; a Ray worker has but one.
        """
        with tokenizer_threads(parallel):
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(e.ids, dtype=np.int64) for e in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray[Any, Any]) -> str:
        """Turn ids into text; special tokens are written out."""
        return str(self._backend.decode([int(i) for i in ids], skip_special_tokens=False))


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a tokenizer folder.

    Raises:
        DataError: A file is missing or damaged, or a special token is not in the vocabulary.
    """
    folder = Path(folder)
    found = {name: path for name in TOKENIZER_FILES if (path := folder / name).is_file()}
    if "tokenizer.json" not in found:
        raise DataError(
            "no tokenizer.json",
            where=str(folder),
            mend="Save the tokenizer as a fast one (AutoTokenizer(...).save_pretrained).",
        )
    return _load(found)


def open_tokenizer(files: FileSet) -> Tokenizer:
    """Load the tokenizer among a step's files, wherever they lie.

    Raises:
        DataError: As `load_tokenizer`.
    """
    present = {record.name for record in files.records()}
    return _load({name: files.local(name) for name in TOKENIZER_FILES if name in present})


def special_tokens(files: Mapping[str, Path]) -> dict[str, str | None]:
    """Read which tokens begin, end and pad: {"bos", "eos", "pad"} -> token or None.

    Args:
        files: Name -> path of the JSON files that may declare them.
    """
    declared: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if name in files:
            try:
                raw = json.loads(files[name].read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"not JSON: {error}", where=str(files[name])) from error
            declared |= {k: v for k, v in raw.items() if v is not None}
    marks: dict[str, str | None] = {}
    for kind in ("bos", "eos", "pad"):
        token = declared.get(f"{kind}_token")
        marks[kind] = token.get("content") if isinstance(token, dict) else token
    return marks


def _load(files: Mapping[str, Path]) -> Tokenizer:
    from tokenizers import Tokenizer as Backend

    model = files["tokenizer.json"]
    text = model.read_text(encoding="utf-8")
    try:
        backend = Backend.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"not a tokenizer: {error}", where=str(model)) from error
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    marks = special_tokens(files)
    ids = {kind: _id_of(backend, kind, token, model.parent) for kind, token in marks.items()}
    pad = ids["pad"] if ids["pad"] is not None else ids["eos"]
    identity = json.dumps([ids["bos"], ids["eos"], pad])
    return Tokenizer(
        vocab_size=1 + max(backend.get_vocab(with_added_tokens=True).values()),
        bos_id=ids["bos"],
        eos_id=ids["eos"],
        pad_id=pad,
        digest=hashlib.sha256((identity + text).encode("utf-8")).hexdigest(),
        _backend=backend,
    )


def _id_of(backend: Any, kind: str, token: str | None, folder: Path) -> int | None:
    if token is None:
        return None
    found = backend.token_to_id(token)
    if found is None:
        raise DataError(
            f"the {kind} token {token!r} is not in the vocabulary",
            where=str(folder / "tokenizer_config.json"),
            mend=f"Name an entry of the vocabulary as tokenizer.{kind}_token.",
        )
    return int(found)


@contextlib.contextmanager
def tokenizer_threads(on: bool) -> Iterator[None]:
    """Let the `tokenizers` library use all cores within a block.

    It stays off outside: a thread pool does not survive a fork, and Ray workers share the cores.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if on else "false"
    try:
        yield
    finally:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
