"""One token shard: the documents of one document shard as flat ids.

Documents are put in order of their labels (source, category, lang, tier), within one label in the
order in which they came, so that everything with the same labels is one contiguous **segment**. A
mixture then selects segments, and does not have to look at single documents.

A domain is no such label: it would put documents in another order, and what is trained on a mixture
that never asks for domains would depend on who labelled them. Documents stay where they are; each
has the number of its domain, and a segment knows how many tokens of which domains it holds.

Files of a shard `x` (numpy without pickle, memory-mapped by readers):

    x.tokens.npy    uint16 or uint32, all tokens; each document as BOS … EOS
    x.starts.npy    int64, n_documents + 1: where each document begins in the tokens
    x.bytes.npy     int64, n_documents: UTF-8 bytes of each text
    x.ids.npy       fixed-width bytes, n_documents: the documents' ids
    x.domains.npy   uint16, n_documents: position of each document's domain in `domains` of the
                    shard's entry in the index; only where documents are labelled
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from openseek.config.tokens import TokensConfig
from openseek.corpus.document import CATEGORIES
from openseek.errors import ConfigError
from openseek.tokens.tokenizer import Tokenizer

Array = np.ndarray[Any, np.dtype[Any]]
Labels = tuple[str, str, str, str]
"""source, category, lang, tier."""

_BATCH_BYTES = 4_000_000  # text encoded at once: bounds the memory of the encodings


@dataclass(frozen=True)
class Segment:
    """Documents with the same labels: a contiguous part of a token shard.

    `domains` has the tokens of each domain in it; empty where no document of the shard has one.
    """

    source: str
    category: str
    lang: str
    tier: str
    first_document: int
    documents: int
    first_token: int
    tokens: int
    bytes: int
    domains: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenShard:
    """A tokenised document shard in memory.

    Attributes:
        tokens: All ids, uint16 or uint32.
        starts: Where each document begins, and the end; int64.
        bytes: UTF-8 bytes of each document; int64.
        ids: Ids of the documents.
        segments: The parts with equal labels.
        domains: Domain of each document (empty: it has none); empty if none has one.
    """

    tokens: Array
    starts: Array
    bytes: Array
    ids: list[str]
    segments: list[Segment]
    domains: list[str]

    @property
    def domain_names(self) -> list[str]:
        """The domains that occur, sorted."""
        return sorted(set(self.domains))

    def counts(self, vocab_size: int) -> dict[str, Array]:
        """Count each token by category."""
        found: dict[str, Array] = {}
        for s in self.segments:
            part = self.tokens[s.first_token : s.first_token + s.tokens]
            counts = np.bincount(part, minlength=vocab_size)
            found[s.category] = found[s.category] + counts if s.category in found else counts
        return found

    def save(self, folder: Path, stem: str) -> dict[str, Path]:
        """Write the shard's files; returns logical name -> path."""
        folder.mkdir(parents=True, exist_ok=True)
        width = max([1, *(len(i.encode("utf-8")) for i in self.ids)])
        ids = np.array([i.encode("utf-8") for i in self.ids], dtype=f"S{width}")
        arrays = {"tokens": self.tokens, "starts": self.starts, "bytes": self.bytes, "ids": ids}
        if self.domains:
            numbers = {name: i for i, name in enumerate(self.domain_names)}
            arrays["domains"] = np.array([numbers[d] for d in self.domains], np.uint16)
        paths = {}
        for kind in arrays:
            name = f"{stem}.{kind}.npy"
            np.save(folder / name, arrays[kind], allow_pickle=False)
            paths[name] = folder / name
        return paths


@dataclass(frozen=True)
class Row:
    """A document on its way to tokens."""

    id: str
    text: str
    labels: Labels
    domain: str = ""


@dataclass
class _Pile:
    """Encoded documents of one label, in order."""

    tokens: list[Array] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)

    def by_domain(self) -> dict[str, int]:
        """Count the tokens of each domain."""
        counts = dict.fromkeys(sorted(set(self.domains)), 0)
        for domain, ids in zip(self.domains, self.tokens, strict=True):
            counts[domain] += len(ids)
        return counts


def encode_rows(rows: Iterable[Row], tokenizer: Tokenizer, config: TokensConfig) -> TokenShard:
    """Tokenise documents into a shard.

    Raises:
        ConfigError: A begin or end token is asked for that the tokenizer does not have.
    """
    dtype = token_dtype(tokenizer.vocab_size)
    head, tail = _frame(tokenizer, config)
    piles: dict[Labels, _Pile] = {}
    for batch in _batches(rows):
        for row, ids in zip(batch, tokenizer.encode_batch([r.text for r in batch]), strict=True):
            pile = piles.setdefault(row.labels, _Pile())
            pile.tokens.append(np.concatenate([head, ids, tail]).astype(dtype))
            pile.bytes.append(len(row.text.encode("utf-8")))
            pile.ids.append(row.id)
            pile.domains.append(row.domain)
    return _assemble(piles, dtype)


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Choose the narrowest type for ids below `vocab_size`."""
    return np.dtype(np.uint16 if vocab_size < 65_536 else np.uint32)


def _assemble(piles: dict[Labels, _Pile], dtype: np.dtype[Any]) -> TokenShard:
    segments: list[Segment] = []
    pieces: list[Array] = []
    sizes: list[int] = []
    ids: list[str] = []
    domains: list[str] = []
    first_token = 0
    labelled = any(any(pile.domains) for pile in piles.values())
    for labels in sorted(piles):
        pile = piles[labels]
        n_tokens = sum(map(len, pile.tokens))
        segments.append(
            Segment(
                *labels, len(ids), len(pile.ids), first_token, n_tokens, sum(pile.bytes),
                pile.by_domain() if labelled else {},
            )
        )  # fmt: skip
        pieces += pile.tokens
        sizes += pile.bytes
        ids += pile.ids
        domains += pile.domains if labelled else []
        first_token += n_tokens
    lengths = [0, *(len(p) for p in pieces)]
    return TokenShard(
        tokens=np.concatenate(pieces) if pieces else np.zeros(0, dtype),
        starts=np.cumsum(np.asarray(lengths, dtype=np.int64)),
        bytes=np.asarray(sizes, dtype=np.int64),
        ids=ids,
        segments=segments,
        domains=domains,
    )


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _frame(tokenizer: Tokenizer, config: TokensConfig) -> tuple[list[int], list[int]]:
    ends: list[list[int]] = []
    for kind, wanted, token in (
        ("bos", config.bos, tokenizer.bos_id),
        ("eos", config.eos, tokenizer.eos_id),
    ):
        if wanted and token is None:
            raise ConfigError(
                f"the tokenizer has no {kind} token",
                where=f"tokens.{kind}",
                mend=f"Set tokens.{kind} to false, or name one as tokenizer.{kind}_token.",
            )
        ends.append([token] if wanted and token is not None else [])
    return ends[0], ends[1]


def shard_id(name: str) -> str:
    """Derive a shard's id (letters, digits, `-`, `_`) from a document shard's name."""
    stem = name.removesuffix(".parquet")
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", stem)
    return plain if plain == stem else f"{plain}-{sha256(stem.encode()).hexdigest()[:8]}"


def pack_counts(counts: dict[str, Array]) -> dict[str, str]:
    """Write token counts by category as text, for a shard's statistics."""
    return {
        category: base64.b64encode(zlib.compress(counts[category].astype("<i8").tobytes())).decode()
        for category in sorted(counts)
    }


def unpack_counts(packed: Sequence[dict[str, str]], vocab_size: int) -> Array:
    """Sum up packed counts; returns int64 (categories in their usual order, vocab)."""
    total = np.zeros((len(CATEGORIES), vocab_size), dtype=np.int64)
    for shard in packed:
        for category, text in shard.items():
            raw = zlib.decompress(base64.b64decode(text))
            total[CATEGORIES.index(category)] += np.frombuffer(raw, dtype="<i8")
    return total


def segment_json(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Write segments as JSON, with `domains` where there are any."""
    return [{k: v for k, v in asdict(s).items() if v or k != "domains"} for s in segments]
