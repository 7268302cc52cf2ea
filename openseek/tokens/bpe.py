"""Train a byte-level BPE on a balanced sample of documents.

Same documents and settings give the same bytes on any number of threads: the sample is chosen by
the documents' ids, the alphabet is given in order, and the trainer breaks ties by id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from openseek.config.tokens import TokenizerConfig
from openseek.errors import DataError
from openseek.tokens.tokenizer import tokenizer_threads

K = TypeVar("K")

# Pieces that BPE never joins across: English contractions, a word with the one mark or space before
# it, single digits (numbers keep their place value), punctuation, line ends, and spaces.
WORDS = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class SampleText:
    """A piece of a document for training."""

    category: str
    lang: str
    text: str


def share_equally(available: Mapping[K, int], budget: int) -> dict[K, int]:
    """Split a budget into equal shares; what one cannot use goes to the others.

    Args:
        available: What each can use at most.
        budget: What there is to share.
    """
    shares: dict[K, int] = {}
    left = budget
    order = sorted(available, key=lambda k: (available[k], repr(k)))
    for i, key in enumerate(order):
        shares[key] = min(available[key], left // (len(order) - i))
        left -= shares[key]
    return shares


def take_sample(paths: Sequence[Path], config: TokenizerConfig) -> list[SampleText]:
    """Choose text for training: equal by category, within it by language, by the ids' hashes.

    Args:
        paths: Document shards (parquet).
        config: Size of the sample and most bytes of one document.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], list[tuple[bytes, int, int, int]]] = {}
    for number, path in enumerate(paths):
        table = pq.read_table(path, columns=["id", "category", "lang", "text"])
        sizes = pc.binary_length(table["text"]).to_pylist()
        labels = zip(*(table[name].to_pylist() for name in ("id", "category", "lang")), strict=True)
        for row, ((name, category, lang), size) in enumerate(zip(labels, sizes, strict=True)):
            rank = hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest()
            size = min(size or 0, config.document_bytes)
            if size:
                found.setdefault((category, lang), []).append((rank, number, row, size))
    chosen = _choose(found, config.sample)
    return [
        SampleText(category, lang, _head(text, config.document_bytes))
        for category, lang, text in _read_rows(paths, chosen)
    ]


def _choose(
    found: dict[tuple[str, str], list[tuple[bytes, int, int, int]]], budget: int
) -> dict[int, list[int]]:
    """Return shard number -> chosen rows."""
    sizes = {group: sum(item[3] for item in items) for group, items in found.items()}
    by_category: dict[str, int] = {}
    for (category, _), size in sizes.items():
        by_category[category] = by_category.get(category, 0) + size
    chosen: dict[int, list[int]] = {}
    for category, share in share_equally(by_category, budget).items():
        groups = {group: size for group, size in sizes.items() if group[0] == category}
        for group, most in share_equally(groups, share).items():
            used = 0
            for _, number, row, size in sorted(found[group]):
                if used >= most:
                    break
                chosen.setdefault(number, []).append(row)
                used += size
    return chosen


def _read_rows(
    paths: Sequence[Path], chosen: Mapping[int, list[int]]
) -> Iterator[tuple[str, str, str]]:
    import pyarrow.parquet as pq

    for number in sorted(chosen):
        table = pq.read_table(paths[number], columns=["category", "lang", "text"])
        rows = table.take(sorted(chosen[number])).to_pydict()
        yield from zip(rows["category"], rows["lang"], rows["text"], strict=True)


def _head(text: str, most: int) -> str:
    return text.encode("utf-8")[:most].decode("utf-8", "ignore")


def train_bpe(texts: Sequence[str], config: TokenizerConfig, folder: Path) -> None:
    """Train on texts and write a tokenizer folder that transformers loads without any code.

    Raises:
        DataError: There is no text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    if not texts:
        raise DataError(
            "no text to train a tokenizer on",
            where="tokenizer",
            mend="Did every document get dropped? Look at the data steps' reports.",
        )
    bos, eos, pad = config.marks()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[bos, eos, pad],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with tokenizer_threads(True):
        tokenizer.train_from_iterator(texts, trainer)
    # Prompts begin as documents do in training: with the begin token.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    write_marks(folder, {"bos_token": bos, "eos_token": eos, "pad_token": pad}, {})


def write_marks(folder: Path, marks: Mapping[str, str], extra: Mapping[str, Any]) -> None:
    """Write tokenizer_config.json and special_tokens_map.json.

    Args:
        folder: The tokenizer's folder.
        marks: `bos_token`, `eos_token`, `pad_token` -> token.
        extra: Further keys of tokenizer_config.json (a chat template).
    """
    config = {
        "clean_up_tokenization_spaces": False,
        **extra,
        **marks,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name, content in (("tokenizer_config", config), ("special_tokens_map", dict(marks))):
        text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
