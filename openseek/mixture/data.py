"""A stage's batches: memory-mapped token shards read in the order of the mixture.

Batch `step` of size B holds positions step·B … step·B + B - 1 of the stage, whatever the number of
processes and wherever a run was interrupted; a process takes its part of it (`Batch.part`).

A group's documents form one stream (`stream.py`), in the order of their shards. Sequence j of it is
the tokens j·T … j·T + T: T inputs and T targets, so neighbours share one token and every token is a
target exactly once. Documents meet inside a sequence; `doc_BT1` numbers them, for attention that
must not look across and for positions that start anew.

Shapes: B sequences of a batch, T1 = T + 1 tokens of a sequence.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openseek.artifacts.files import FileSet, Json, names, sha256_file
from openseek.errors import DataError
from openseek.mixture.order import Interleaving, derive_key, permuted
from openseek.mixture.stream import Array, Stream

_OPEN_SHARDS = 200  # each holds two file descriptors; the usual limit of a process is 1,024


@dataclass(frozen=True)
class Batch:
    """Sequences of one step.

    Attributes:
        tokens_BT1: Token ids; int64.
        doc_BT1: Number of the document within its sequence, from 0; int32.
        category_B: Position of each sequence's category in `StageData.categories`; int8.
    """

    tokens_BT1: Array
    doc_BT1: Array
    category_B: Array

    def part(self, rank: int, world_size: int) -> Batch:
        """Take the share of one process: consecutive sequences.

        Raises:
            ValueError: The batch does not divide evenly.
        """
        size, rest = divmod(len(self.category_B), world_size)
        if rest:
            raise ValueError(
                f"a batch of {len(self.category_B)} sequences does not divide by {world_size}: "
                "choose a batch size that does"
            )
        mine = slice(rank * size, (rank + 1) * size)
        return Batch(self.tokens_BT1[mine], self.doc_BT1[mine], self.category_B[mine])


class StageData:
    """A stage's sequences, by position.

    Args:
        recipe: Content of mixture.json.
        locate: File name of the token shards -> local path.
    """

    def __init__(self, recipe: Json, locate: Callable[[str], Path]) -> None:
        self.stage: str = recipe["stage"]
        self.n_sequences: int = recipe["n_sequences"]
        self.seq_len: int = recipe["sequence_length"]
        self.vocab_size: int = recipe["vocab_size"]
        self.categories: list[str] = list(recipe["categories"])
        self.bos_id: int | None = recipe["bos_id"]
        self.eos_id: int | None = recipe["eos_id"]
        self.pad_id: int | None = recipe["pad_id"]
        self.groups: list[str] = [g["name"] for g in recipe["groups"]]
        self._locate = locate
        self._shards: list[str] = recipe["shards"]
        self._array = functools.lru_cache(maxsize=2 * _OPEN_SHARDS)(self._load)
        self._streams = [
            Stream(g, derive_key(recipe["seed"], self.stage, g["name"]), self._array)
            for g in recipe["groups"]
        ]
        self._category = np.array(
            [self.categories.index(g["category"]) for g in recipe["groups"]], dtype=np.int8
        )
        self._order = Interleaving(
            [g["sequences"] for g in recipe["groups"]], derive_key(recipe["seed"], self.stage)
        )

    @classmethod
    def open(cls, tokens: FileSet, mixture: FileSet) -> StageData:
        """Open a stage from the files of `tokenise` and `mix`; shards are fetched when first read.

        Raises:
            DataError: The mixture was made for other token shards.
        """
        recipe = json.loads(mixture.local("mixture.json").read_text(encoding="utf-8"))
        _check_index(recipe, tokens.local("index.json"))
        return cls(recipe, tokens.local)

    @classmethod
    def from_folders(cls, tokens_dir: Path, mixture_dir: Path) -> StageData:
        """Open a stage from local folders (see `materialise`), for a process without a store.

        Raises:
            DataError: The mixture was made for other token shards.
        """
        recipe = json.loads((Path(mixture_dir) / "mixture.json").read_text(encoding="utf-8"))
        _check_index(recipe, Path(tokens_dir) / "index.json")
        return cls(recipe, Path(tokens_dir).joinpath)

    def batch(self, step: int, batch_size: int) -> Batch:
        """Read the batch of a step.

        Raises:
            IndexError: The stage ends before the batch does.
        """
        groups, sequences = self.indices(step, batch_size)
        tokens = np.empty((batch_size, self.seq_len + 1), dtype=np.int64)
        docs = np.empty((batch_size, self.seq_len + 1), dtype=np.int32)
        for row, (group, sequence) in enumerate(zip(groups, sequences, strict=True)):
            self._fill(int(group), int(sequence), tokens[row], docs[row])
        return Batch(tokens, docs, self._category[groups])

    def indices(self, step: int, batch_size: int) -> tuple[Array, Array]:
        """Tell which group, and which sequence of it, each row of a batch is; int64 (B,)."""
        groups, draws = self._order.at(step * batch_size, batch_size)
        sequences = np.empty_like(draws)
        for group in np.unique(groups):
            mine = groups == group
            stream = self._streams[group]
            sequences[mine] = permuted(draws[mine], stream.n_sequences, stream.key)
        return groups, sequences

    def document_ids(self, step: int, batch_size: int) -> list[list[str]]:
        """List the ids of the documents in each sequence of a batch."""
        groups, sequences = self.indices(step, batch_size)
        found = []
        for group, sequence in zip(groups, sequences, strict=True):
            ids: list[str] = []
            for shard, first, length in self._pieces(int(group), int(sequence)):
                starts = self._array(shard, "starts")
                low = int(np.searchsorted(starts, first, side="right")) - 1
                high = int(np.searchsorted(starts, first + length, side="left"))
                ids += [i.decode("utf-8") for i in self._array(shard, "ids")[low:high].tolist()]
            found.append(ids)
        return found

    def _fill(self, group: int, sequence: int, tokens: Array, docs: Array) -> None:
        """Write one sequence and the numbers of its documents into rows of a batch."""
        begins = np.zeros(len(tokens), dtype=np.int32)
        done = 0
        for shard, first, length in self._pieces(group, sequence):
            tokens[done : done + length] = self._array(shard, "tokens")[first : first + length]
            starts = self._array(shard, "starts")
            low, high = np.searchsorted(starts, (first, first + length))
            begins[np.asarray(starts[low:high]) - first + done] = 1
            done += length
        begins[0] = 0
        np.cumsum(begins, out=docs)

    def _pieces(self, group: int, sequence: int) -> Iterator[tuple[int, int, int]]:
        """Find where a sequence lies: (shard, first token, tokens) for each piece."""
        return self._streams[group].pieces(sequence * self.seq_len, self.seq_len + 1)

    def _load(self, shard: int, kind: str) -> Array:
        path = self._locate(f"{self._shards[shard]}.{kind}.npy")
        return np.load(path, mmap_mode="r", allow_pickle=False)


def materialise(files: FileSet, folder: Path, pattern: str = "*") -> Path:
    """Link a step's files into one folder under their logical names; returns the folder.

    Child processes then need a path only. Files that are there already stay.
    """
    for name in names(files, pattern):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            staged = target.with_name(f".{target.name}.{os.getpid()}")
            staged.unlink(missing_ok=True)
            staged.symlink_to(files.local(name).resolve())
            staged.replace(target)
    return folder


def _check_index(recipe: Json, path: Path) -> None:
    if sha256_file(path) != recipe["index_sha256"]:
        raise DataError(
            "the mixture was made for other token shards than these",
            where=str(path),
            mend="Run the mixture step again on these token shards.",
        )
