"""safetensors files read and written by rows, so that no tensor need fit in memory.

A safetensors file is a length (8 bytes), a JSON header that gives each tensor's type, shape and
byte range, and the bytes. Every tensor is looked at as a matrix [rows, last dimension]: a range of
rows is a range of bytes, in a local file as in an object store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from openseek.artifacts.backend import Backend
from openseek.errors import DataError
from openseek.model.fp8 import E4M3, SCALE, dequantise, scale_shape

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# In the order of the safetensors library, which lays out wide types first.
_TYPES = {
    "F64": torch.float64, "I64": torch.int64, "F32": torch.float32, "I32": torch.int32,
    "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": E4M3, "U8": torch.uint8,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(_NAMES)}
_REFETCH = "Fetch the file again: it is incomplete."
PYTORCH = {"format": "pt"}  # what transformers asks of a file's metadata


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: file, type, shape, and the byte at which it begins there."""

    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int = 0

    @property
    def rows(self) -> int:
        """Rows of the tensor seen as a matrix; a vector is a column."""
        return prod(self.shape[:-1]) if len(self.shape) > 1 else prod(self.shape)

    @property
    def columns(self) -> int:
        """Columns of the tensor seen as a matrix."""
        return self.shape[-1] if len(self.shape) > 1 else 1


class Tensors(Protocol):
    """Named tensors that are read by rows."""

    @property
    def where(self) -> str:
        """Folder or URL, for messages."""
        ...

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """All of them, by name."""
        ...

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) as they are stored, [rows, columns]."""
        ...


def values(source: Tensors, name: str, start: int, stop: int) -> Tensor:
    """Return rows [start, stop) of a tensor; FP8 blocks come back as fp32."""
    rows = source.rows(name, start, stop)
    if rows.dtype != E4M3:
        return rows
    grid = source.tensors[name + SCALE]
    return dequantise(rows, source.rows(name + SCALE, 0, grid.rows), start)


class MemoryTensors:
    """Tensors that are in memory already."""

    def __init__(self, weights: Mapping[str, Tensor], where: str = "memory") -> None:
        self.where = where
        self._weights = weights
        self.tensors = {n: Stored(where, t.dtype, tuple(t.shape)) for n, t in weights.items()}

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return rows as a view."""
        stored = self.tensors[name]
        return self._weights[name].detach().reshape(stored.rows, stored.columns)[start:stop]


class TensorFolder:
    """The tensors of a folder or URL: one safetensors file, or shards with an index.

    Raises:
        DataError: A file is missing or cut off, or a tensor is not where the index says, has no
            scales, or scales of another shape.
    """

    def __init__(self, backend: Backend) -> None:
        self.where = backend.root
        self._backend = backend
        self.sizes = {entry.path: entry.size for entry in backend.list("")}
        promised: dict[str, str] = {}
        files = [WEIGHTS]
        if INDEX in self.sizes:
            promised = json.loads(backend.read(INDEX)[0])["weight_map"]
            files = sorted(set(promised.values()))
        self.tensors: dict[str, Stored] = {}
        for file in files:
            if file not in self.sizes:
                raise DataError(f"no file {file}", where=self.where, mend="Fetch the folder again.")
            self.tensors |= self._header(file)
        for name, file in sorted(promised.items()):
            if name not in self.tensors or self.tensors[name].file != file:
                raise DataError(
                    f"{name} is not in {file}, where {INDEX} says it is", where=self.where,
                    mend="Fetch both files again: they are of different versions.",
                )  # fmt: skip
        self._check_scales()

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Read rows [start, stop) of a tensor and nothing else."""
        stored = self.tensors[name]
        width = stored.columns * stored.dtype.itemsize
        begin, end = stored.begin + start * width, stored.begin + stop * width
        raw = self._read(stored.file, begin, end)
        return raw.view(stored.dtype).view(stop - start, stored.columns)

    def _read(self, file: str, begin: int, end: int) -> Tensor:
        path = self._backend.local(file)
        if path is None:
            data = self._backend.read_range(file, begin, end)
            raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            count = len(data)
        else:
            raw = torch.empty(end - begin, dtype=torch.uint8)
            with path.open("rb", buffering=0) as f:
                f.seek(begin)
                count = f.readinto(raw.numpy().data) or 0
        if count != end - begin:
            raise DataError("it ends early", where=f"{self.where}/{file}", mend=_REFETCH)
        return raw

    def _header(self, file: str) -> dict[str, Stored]:
        where = f"{self.where}/{file}"
        size = self.sizes[file]
        if size < 8:
            raise DataError("it ends early", where=where, mend=_REFETCH)
        length = int.from_bytes(self._read(file, 0, 8).numpy().tobytes(), "little")
        if length > min(size - 8, 100_000_000):
            raise DataError("it ends within its header", where=where, mend=_REFETCH)
        raw = json.loads(self._read(file, 8, 8 + length).numpy().tobytes())
        raw.pop("__metadata__", None)
        found = {}
        for name, entry in raw.items():
            if entry["dtype"] not in _TYPES:
                raise DataError(
                    f"{name} is of type {entry['dtype']}", where=where,
                    mend=f"Types that can be read: {', '.join(_TYPES)}.",
                )  # fmt: skip
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            if end > size:
                raise DataError(f"it ends before {name}", where=where, mend=_REFETCH)
            shape = tuple(entry["shape"])
            found[name] = Stored(file, _TYPES[entry["dtype"]], shape, begin)
        return found

    def _check_scales(self) -> None:
        for name, stored in self.tensors.items():
            if stored.dtype != E4M3:
                continue
            scale = self.tensors.get(name + SCALE)
            wanted = scale_shape(stored.rows, stored.columns)
            if scale is None or scale.shape != wanted:
                found = "is missing" if scale is None else f"has shape {list(scale.shape)}"
                raise DataError(
                    f"{name}{SCALE} {found}, expected {list(wanted)} for {list(stored.shape)}",
                    where=f"{self.where}/{stored.file}",
                    mend="FP8 weights need one fp32 scale for each 128x128 block: fetch the "
                    "folder again, or quantise it with weight_block_size [128, 128].",
                )


@dataclass(frozen=True)
class Slot:
    """A tensor to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


class TensorFile:
    """A safetensors file whose tensors come one at a time, in any order; a context manager.

    The bytes are those of the safetensors library, whatever the order.

    Args:
        path: File to write; flushed to disk at the end.
        slots: What it will hold.
        metadata: Goes into the header.
    """

    def __init__(
        self, path: Path, slots: Iterable[Slot], *, metadata: Mapping[str, str] | None = PYTORCH
    ) -> None:
        self.slots = sorted(slots, key=lambda s: (_RANK[s.dtype], s.name))
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        places, offset = dict[str, int](), 0
        for slot in self.slots:
            header[slot.name] = {
                "dtype": _NAMES[slot.dtype], "shape": list(slot.shape),
                "data_offsets": [offset, offset + slot.size],
            }  # fmt: skip
            places[slot.name] = offset
            offset += slot.size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self._left = {s.name: (s, 8 + len(text) + places[s.name]) for s in self.slots}
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def put(self, name: str, chunks: Iterable[Tensor]) -> None:
        """Write one tensor, in pieces of its type."""
        slot, begin = self._left.pop(name)
        if self._file.tell() != begin:
            self._file.seek(begin)
        written = 0
        for chunk in chunks:
            raw = chunk.contiguous().view(-1).view(torch.uint8)
            written += self._file.write(raw.numpy().data)
        if written != slot.size:
            raise AssertionError(f"{name}: {written} of {slot.size} bytes")

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file as file:
            if kind is None:
                if self._left:
                    raise AssertionError(f"never written: {sorted(self._left)[:5]}")
                file.flush()
                os.fsync(file.fileno())


def write_file(
    path: Path,
    slots: Iterable[Slot],
    chunks: Callable[[Slot], Iterable[Tensor]],
    *,
    metadata: Mapping[str, str] | None = PYTORCH,
) -> None:
    """Write a safetensors file piece by piece, from its beginning to its end.

    Args:
        path: File to write; flushed to disk at the end.
        slots: What it holds.
        chunks: Gives a slot's contents in order, in pieces of its type.
        metadata: Goes into the header.
    """
    with TensorFile(path, slots, metadata=metadata) as file:
        for slot in file.slots:
            file.put(slot.name, chunks(slot))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = PYTORCH
) -> None:
    """Write tensors on the CPU as `write_file` does.

    Unlike the library it copies nothing and lets other threads run while it writes.
    """
    slots = [Slot(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_file(path, slots, lambda slot: [tensors[slot.name]], metadata=metadata)
