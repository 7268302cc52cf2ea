"""The step that makes the run's tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import FileSet, names
from openseek.config.tokens import TokenizerConfig
from openseek.tokens.bpe import SampleText, take_sample, train_bpe
from openseek.tokens.pretrained import copy_tokenizer
from openseek.tokens.tokenizer import TOKENIZER_FILES, load_tokenizer

_MEASURED_BYTES = 200_000  # per category; the ratio settles to about 1 % by then


def train_tokenizer(ctx: StepContext[TokenizerConfig]) -> dict[str, Any]:
    """Train a tokenizer on the documents, or copy the configured one.

    Inputs: `documents`, `synthetic` (document shards; either may be absent).
    Output: tokenizer.json, tokenizer_config.json, special_tokens_map.json.

    Returns:
        vocab_size, digest, trained, sample_bytes, sample_documents, sample_by_category,
        sample_by_lang, bytes_per_token and bytes_per_token_by_category.
    """
    inputs = [ctx.inputs[n] for n in ("documents", "synthetic") if n in ctx.inputs]
    ctx.progress(0, 3, "phases")
    sample = take_sample(_sampled_shards(inputs, ctx.config.shards_per_source), ctx.config)
    ctx.progress(1, 3, "phases")
    folder = ctx.out.scratch / "tokenizer"
    if ctx.config.path:
        copy_tokenizer(ctx.config, folder, offline=ctx.runtime.offline)
    else:
        train_bpe([piece.text for piece in sample], ctx.config, folder)
    ctx.progress(2, 3, "phases")
    metrics = _measure(folder, sample) | {"trained": not ctx.config.path}
    if not ctx.config.path and metrics["vocab_size"] < ctx.config.vocab_size:
        ctx.log.warning(
            "vocabulary smaller than asked: vocab_size=%d asked=%d sample_bytes=%d",
            metrics["vocab_size"], ctx.config.vocab_size, metrics["sample_bytes"],
        )  # fmt: skip
    for name in TOKENIZER_FILES:
        ctx.out.add(name, folder / name)
    ctx.progress(3, 3, "phases")
    return metrics


def _sampled_shards(inputs: Sequence[FileSet], per_source: int) -> list[Path]:
    """Take at most `per_source` shards of each source, evenly spread, in order of their names."""
    paths = []
    for files in inputs:
        by_source: dict[str, list[str]] = {}
        for name in names(files, "*.parquet"):
            by_source.setdefault(name.rpartition("-")[0], []).append(name)
        for source in sorted(by_source):
            shards = by_source[source]
            n = min(per_source, len(shards))
            paths += [files.local(shards[i * len(shards) // n]) for i in range(n)]
    return paths


def _measure(folder: Path, sample: Sequence[SampleText]) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    by_category: dict[str, int] = {}
    by_lang: dict[str, int] = {}
    measured: dict[str, list[str]] = {}
    room: dict[str, int] = {}
    for piece in sample:
        size = len(piece.text.encode("utf-8"))
        by_category[piece.category] = by_category.get(piece.category, 0) + size
        by_lang[piece.lang] = by_lang.get(piece.lang, 0) + size
        if room.setdefault(piece.category, _MEASURED_BYTES) > 0:
            measured.setdefault(piece.category, []).append(piece.text)
            room[piece.category] -= size
    n_bytes: dict[str, int] = {}
    n_tokens: dict[str, int] = {}
    for category in sorted(measured):
        texts = measured[category]
        n_bytes[category] = sum(len(t.encode("utf-8")) for t in texts)
        n_tokens[category] = sum(map(len, tokenizer.encode_batch(texts, parallel=True)))
    return {
        "vocab_size": tokenizer.vocab_size,
        "digest": tokenizer.digest,
        "sample_bytes": sum(by_category.values()),
        "sample_documents": len(sample),
        "sample_by_category": dict(sorted(by_category.items())),
        "sample_by_lang": dict(sorted(by_lang.items())),
        "bytes_per_token": sum(n_bytes.values()) / max(1, sum(n_tokens.values())),
        "bytes_per_token_by_category": {c: n_bytes[c] / n_tokens[c] for c in n_bytes},
    }
