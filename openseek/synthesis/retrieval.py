"""BM25 over passages of the step's own documents, offline and deterministic.

Passages are documents cut at paragraphs and sentences. Which ones are indexed depends on (seed,
document id) alone: the `max_passages` with the smallest hashes, in the order of these. The score is
BM25 in Lucene's form: the sum over the query's terms of
idf * tf / (tf + k1 * (1 - b + b * len / mean len)), idf = ln(1 + (N - n + 0.5) / (n + 0.5)).
It is computed while indexing, so that a search only adds up columns of a sparse matrix. Ties go to
the smaller index.

Terms are lower-case words and numbers; Chinese has no spaces, so each pair of neighbouring
characters is a term.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework"; Lù, "BM25S" (2407.03618)
for the scores computed beforehand.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openseek.artifacts.files import FileSet, names
from openseek.config.recipes import RetrievalConfig
from openseek.corpus.shards import iter_batches
from openseek.errors import DataError

_TERM = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?|[\u3400-\u9fff]+")
_CUT = re.compile(r"(?<=\n\n)|(?<=[.!?]\s)|(?<=[。！？\n])")
_LONGEST = 64  # characters of one term: beyond it is no word


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    id: str  # document id and number, `ID#3`
    text: str


def terms(text: str) -> list[str]:
    """List the terms of a text, in order."""
    found: list[str] = []
    for run in _TERM.findall(text.lower()):
        if run[0] < "\u3400":
            found.append(run[:_LONGEST])
        elif len(run) == 1:
            found.append(run)
        else:
            found += [run[i : i + 2] for i in range(len(run) - 1)]
    return found


def cut_passages(text: str, most: int) -> list[str]:
    """Cut a text into pieces of at most `most` characters, at paragraphs and sentences."""
    pieces: list[str] = [""]
    for part in _CUT.split(text):
        while len(pieces[-1]) + len(part) > most:
            room = most - len(pieces[-1]) if not pieces[-1] else 0
            pieces[-1] += part[:room]
            part = part[room:]
            pieces.append("")
        pieces[-1] += part
    return [piece.strip() for piece in pieces if piece.strip()]


def choose_passages(documents: FileSet, config: RetrievalConfig, seed: int) -> list[Passage]:
    """Choose the passages of an index; memory is bounded by `max_passages`."""
    # A heap of negated hashes: its top is the largest of those kept so far.
    kept: list[tuple[int, str, str]] = []
    for document, text in _texts(documents):
        for number, piece in enumerate(cut_passages(text, config.passage_chars)):
            name = f"{document}#{number}"
            digest = hashlib.blake2b(f"{seed}/retrieval/{name}".encode(), digest_size=8).digest()
            item = (-int.from_bytes(digest), name, piece)
            if len(kept) < config.max_passages:
                heapq.heappush(kept, item)
            elif item > kept[0]:
                heapq.heapreplace(kept, item)
    return [Passage(name, text) for _, name, text in sorted(kept, reverse=True)]


def _texts(documents: FileSet) -> Iterator[tuple[str, str]]:
    for name in names(documents, "*.parquet"):
        for batch in iter_batches(documents.local(name), ["id", "text"]):
            ids, texts = batch["id"], batch["text"]
            for row in range(batch.num_rows):
                yield ids[row].as_py(), texts[row].as_py()


@dataclass(frozen=True)
class Index:
    """Passages and what each term adds to their scores.

    Attributes:
        vocabulary: Term -> its number.
        starts_V: Where each term's entries begin, and a last one for the end.
        passages_E: Passage of each entry.
        scores_E: What the term adds to this passage's score.
        count: Passages.
    """

    vocabulary: dict[str, int]
    starts_V: NDArray[np.int64]
    passages_E: NDArray[np.int32]
    scores_E: NDArray[np.float32]
    count: int

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """Return the best passages and their scores, best first; none that shares no term."""
        scores_P = np.zeros(self.count, np.float64)
        for term in sorted(set(terms(query))):
            at = self.vocabulary.get(term)
            if at is not None:
                span = slice(self.starts_V[at], self.starts_V[at + 1])
                scores_P[self.passages_E[span]] += self.scores_E[span]
        best = np.argsort(-scores_P, kind="stable")[:k]
        return [(int(i), float(scores_P[i])) for i in best if scores_P[i] > 0]


def build_index(texts: list[str], config: RetrievalConfig) -> Index:
    """Index some passages."""
    vocabulary: dict[str, int] = {}
    term_E: list[NDArray[np.int32]] = []
    count_E: list[NDArray[np.int32]] = []
    lengths = np.zeros(len(texts), np.float64)
    for i, text in enumerate(texts):
        counts = Counter(terms(text))
        numbers = [vocabulary.setdefault(t, len(vocabulary)) for t in counts]
        term_E.append(np.array(numbers, np.int32))
        count_E.append(np.fromiter(counts.values(), np.int32, len(counts)))
        lengths[i] = counts.total()
    passage_E = np.repeat(np.arange(len(texts), dtype=np.int32), [len(t) for t in term_E])
    terms_E = np.concatenate([*term_E, np.zeros(0, np.int32)])
    tf_E = np.concatenate([*count_E, np.zeros(0, np.int32)]).astype(np.float64)
    order = np.argsort(terms_E, kind="stable")
    passage_E, tf_E = passage_E[order], tf_E[order]
    held_V = np.bincount(terms_E, minlength=len(vocabulary))
    idf_V = np.log(1 + (len(texts) - held_V + 0.5) / (held_V + 0.5))
    norm_P = config.k1 * (
        1 - config.b + config.b * lengths / max(lengths.sum() / max(1, len(texts)), 1e-9)
    )
    scores_E = idf_V[terms_E[order]] * tf_E / (tf_E + norm_P[passage_E])
    starts_V = np.concatenate([[0], np.cumsum(held_V)]).astype(np.int64)
    return Index(vocabulary, starts_V, passage_E, scores_E.astype(np.float32), len(texts))


def write_index(
    documents: FileSet, config: RetrievalConfig, seed: int, index: Path, passages: Path
) -> int:
    """Index the documents; write the index (npz) and its passages (parquet).

    Returns:
        Number of passages.

    Raises:
        DataError: There is no passage.
    """
    chosen = choose_passages(documents, config, seed)
    if not chosen:
        raise DataError(
            "no passage to search in", where="synthesis.retrieval",
            mend="Give documents, or leave long_cot_rag out.",
        )  # fmt: skip
    table = {"id": [p.id for p in chosen], "text": [p.text for p in chosen]}
    pq.write_table(pa.table(table), passages, compression="zstd", write_statistics=False)
    made = build_index([p.text for p in chosen], config)
    words = "\n".join(made.vocabulary).encode()
    with index.open("wb") as f:
        np.savez(
            f, vocabulary=np.frombuffer(words, np.uint8), starts=made.starts_V,
            passages=made.passages_E, scores=made.scores_E, count=np.int64(made.count),
        )  # fmt: skip
    return len(chosen)


@dataclass(frozen=True)
class Library:
    """An index with its passages."""

    index: Index
    ids: pa.Array
    texts: pa.Array

    def search(self, query: str, k: int) -> list[Passage]:
        """Return the best passages."""
        return [
            Passage(self.ids[i].as_py(), self.texts[i].as_py())
            for i, _ in self.index.search(query, k)
        ]


@lru_cache(maxsize=2)
def open_library(index: str, passages: str) -> Library:
    """Open what `write_index` wrote; a process reads it once.

    Raises:
        DataError: The files are missing or belong to something else.
    """
    try:
        with np.load(index) as raw:
            words = raw["vocabulary"].tobytes().decode().split("\n")
            vocabulary = {word: i for i, word in enumerate(words) if word}
            made = Index(
                vocabulary, raw["starts"], raw["passages"], raw["scores"], int(raw["count"])
            )
        table = pq.read_table(passages, columns=["id", "text"]).combine_chunks()
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"no retrieval index: {error}", where=index,
            mend="Leave index and passages_file empty to build one of the step's documents.",
        ) from error  # fmt: skip
    if table.num_rows != made.count:
        raise DataError(
            f"{table.num_rows} passages for an index of {made.count}", where=passages,
            mend="Give the passages file that was written with this index.",
        )  # fmt: skip
    ids, texts = (table[c].combine_chunks() for c in ("id", "text"))
    return Library(made, ids, texts)
