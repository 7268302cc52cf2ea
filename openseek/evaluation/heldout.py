"""Held-out documents: a capped sample, bits per byte, and cloze items made from them.

Bits per byte of a text: sum over its tokens of -log2 p(token | the tokens before), divided by its
UTF-8 bytes. Unlike a loss per token it compares models with different tokenizers. A document
longer than the context is cut into windows that share one token, so that every token is predicted
exactly once; a window never reaches into another document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from openseek.evaluation.catalog import Item
from openseek.evaluation.models import TextCodec
from openseek.evaluation.samples import Sample
from openseek.evaluation.scorer import ScoringModel

Json = dict[str, Any]

CLOZE_GROUPS = {
    "cloze_foundation_en": ("foundation", "en"),
    "cloze_foundation_zh": ("foundation", "zh"),
    "cloze_code": ("code", ""),
    "cloze_math": ("math", ""),
    "cloze_cot": ("cot", ""),
}
"""Task -> category and beginning of the language tag."""

_COLUMNS = ("id", "category", "lang", "source", "text")


@dataclass(frozen=True)
class Document:
    """A held-out document."""

    id: str
    category: str
    lang: str
    source: str
    text: str


@dataclass(frozen=True)
class DocumentBits:
    """What a model needs for a document: bits of its tokens, and its size."""

    id: str
    category: str
    lang: str
    source: str
    bytes: int
    tokens: int
    bits: float


def sample_documents(
    paths: Sequence[Path], max_bytes: int, document_bytes: int, seed: int
) -> list[Document]:
    """Draw documents until each (category, language) has `max_bytes` of text.

    Documents come in the order of a hash of (seed, id).

    Args:
        paths: Document shards.
        max_bytes: Most UTF-8 bytes of a group; 0: all.
        document_bytes: Most UTF-8 bytes of a document, from its beginning; 0: all.
        seed: Seed of the order.
    """
    import pyarrow.parquet as pq

    rows: list[Document] = []
    for path in sorted(paths):
        for batch in pq.ParquetFile(path).iter_batches(2000, columns=list(_COLUMNS)):
            rows.extend(Document(**row) for row in batch.to_pylist())
    rows.sort(key=lambda d: hashlib.sha256(f"{seed}:{d.id}".encode()).digest())
    left: dict[tuple[str, str], int] = {}
    kept = []
    for d in rows:
        room = left.get((d.category, d.lang), max_bytes)
        if max_bytes and room <= 0:
            continue
        text = _shortened(d.text, document_bytes)
        text = _shortened(text, room) if max_bytes else text
        left[d.category, d.lang] = room - len(text.encode("utf-8"))
        if text:
            kept.append(replace(d, text=text))
    return sorted(kept, key=lambda d: (d.category, d.lang, d.source, d.id))


def _shortened(text: str, size: int) -> str:
    encoded = text.encode("utf-8")
    return encoded[:size].decode("utf-8", "ignore") if 0 < size < len(encoded) else text


def document_bits(
    model: ScoringModel, codec: TextCodec, documents: Sequence[Document], *, batch_tokens: int
) -> list[DocumentBits]:
    """Measure the bits of each document; the end token is not counted, it stands for no bytes."""
    from openseek.evaluation.computing import compute

    samples = [document_sample(d) for d in documents]
    results = compute(model, codec, samples, batch_tokens=batch_tokens)
    return [measured(d, results[s.key]) for d, s in zip(documents, samples, strict=True)]


def document_sample(document: Document) -> Sample:
    """Turn a document into a sample whose bits are measured."""
    return Sample("document", document.text)


def measured(document: Document, result: Json) -> DocumentBits:
    """Put a document and its sample's result together."""
    return DocumentBits(
        document.id, document.category, document.lang, document.source,
        len(document.text.encode("utf-8")), int(result["tokens"]), float(result["bits"]),
    )  # fmt: skip


def windows(tokens: Sequence[int], start: int | None, context_length: int) -> list[list[int]]:
    """Cut tokens into windows of at most `context_length + 1` that overlap by one token.

    Without a start token the first token has nothing before it and is not counted.
    """
    whole = [*([] if start is None else [start]), *tokens]
    return [whole[i : i + context_length + 1] for i in range(0, len(whole) - 1, context_length)]


def bits_per_byte(measured: Iterable[DocumentBits]) -> Json:
    """Sum up: {"all", "by_category", "by_lang", "by_source"} -> bits per byte."""
    sums: dict[tuple[str, str], list[float]] = {}
    for d in measured:
        for kind, name in (
            ("all", ""), ("by_category", d.category), ("by_lang", d.lang), ("by_source", d.source)
        ):  # fmt: skip
            total = sums.setdefault((kind, name), [0.0, 0.0])
            total[0] += d.bits
            total[1] += d.bytes
    table: Json = {"all": None, "by_category": {}, "by_lang": {}, "by_source": {}}
    for (kind, name), (bits, size) in sorted(sums.items()):
        if kind == "all":
            table["all"] = bits / size
        else:
            table[kind][name] = bits / size
    return table


def write_bits(path: Path, measured: Sequence[DocumentBits]) -> list[Json]:
    """Write measurements as parquet, and return them as rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(d) for d in measured]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    return rows


def cloze_items(
    task: str, documents: Sequence[Document], codec: TextCodec, config: Any, seed: int
) -> list[tuple[str, Item]]:
    """Build "which continuation is the true one" items from a task's group of documents.

    Context and continuations are token spans, all continuations of a task equally long; the wrong
    ones are continuations in other documents of the group. Every document gives one item before
    any gives a second one. The spans' tokens go into `meta`, since text that is cut between two
    tokens need not tokenise to them again.

    Args:
        task: A key of `CLOZE_GROUPS`.
        documents: Held-out documents of all groups.
        codec: The model's tokenizer.
        config: A `ClozeConfig`.
        seed: Seed of the draw.

    Returns:
        (id, item) pairs; empty if fewer than `config.choices` documents are long enough.
    """
    category, lang = CLOZE_GROUPS[task]
    group = [d for d in documents if d.category == category and d.lang.startswith(lang)]
    span = config.context_tokens + config.choice_tokens
    encoded = zip(group, codec.encode([d.text for d in group]), strict=True)
    long_enough = [(d, tokens) for d, tokens in encoded if len(tokens) >= span]
    if len(long_enough) < config.choices:
        return []
    spans = [
        (d, n, tokens[n * span : (n + 1) * span])
        for d, tokens in long_enough
        for n in range(len(tokens) // span)
    ]
    spans.sort(key=lambda s: (s[1], _draw(seed, task, s[0].id, s[1])))
    items = []
    for d, n, tokens in spans[: config.items]:
        others = _distractors(spans, d, config.choices - 1, (seed, task, d.id, n))
        where = _draw(seed, task, "gold", d.id, n)[0] % config.choices
        chosen = [t[config.context_tokens :] for _, _, t in others]
        chosen.insert(where, tokens[config.context_tokens :])
        context = tokens[: config.context_tokens]
        meta = {
            "document": d.id,
            "source": d.source,
            "context": " ".join(map(str, context)),
            "continuations": "|".join(" ".join(map(str, c)) for c in chosen),
        }
        text = codec.decode(context), tuple(codec.decode(c) for c in chosen)
        items.append((f"{d.id[:12]}-{n}", Item(text[0], text[1], where, meta)))
    return items


def _distractors(spans: Sequence[Any], document: Document, count: int, draw: Any) -> list[Any]:
    order = sorted(
        (s for s in spans if s[0].id != document.id),
        key=lambda s: _draw(*draw, s[0].id, s[1]),
    )
    picked: dict[str, Any] = {}
    for s in order:
        picked.setdefault(s[0].id, s)  # one of each document
        if len(picked) == count:
            break
    return list(picked.values())


def _draw(*parts: object) -> bytes:
    return hashlib.sha256("\x00".join(map(str, parts)).encode()).digest()
