from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openseek.config.tokens import TokenizerConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.tokens import take_sample, train_bpe

WORDS = [
    "the",
    "router",
    "sends",
    "each",
    "token",
    "to",
    "six",
    "experts",
    "and",
    "sums",
    "answers",
]
HAN = "专家混合模型把每个词送给六个专家再按权重相加"
LABELS = [
    ("web", "foundation", "en", "high"),
    ("web", "foundation", "en", "low"),
    ("zh", "foundation", "zh-Hans", "medium"),
    ("py", "code", "code", ""),
    ("set", "math", "en", ""),
]


def make_rows(n: int, seed: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        source, category, lang, tier = LABELS[int(rng.integers(len(LABELS)))]
        if lang == "zh-Hans":
            text = "".join(rng.choice(list(HAN), 60)) + "。"
        elif category == "code":
            text = f"def f{i}(x):\n    return x * {i} + len('{rng.choice(WORDS)}')\n"
        else:
            text = " ".join(rng.choice(WORDS, int(rng.integers(5, 80)))) + f" in {i} steps."
        about = {"domain": ("science", "general")[i % 2]} if i % 5 else {}
        row = make_document(
            text, source=source, category=category, lang=lang, license="x", origin=str(i),
            meta=about,
        )  # fmt: skip
        rows.append(row | {"tier": tier})
    return rows


@pytest.fixture(scope="session")
def documents_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    rows = make_rows(200)
    for shard in range(4):
        write_documents(folder / f"mixed-{shard:05d}.parquet", rows[shard::4])
    return folder


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    rows = [
        make_document(
            f"Question: {i} + 1?\nFirst, {i} and 1 make {i + 1}. Answer: {i + 1}",
            source="qa", category="cot", lang="en", license="x", origin=str(i),
        )
        for i in range(30)
    ]  # fmt: skip
    write_documents(folder / "synthetic-00000.parquet", rows)
    return folder


@pytest.fixture(scope="session")
def tokenizer_dir(
    tmp_path_factory: pytest.TempPathFactory, documents_dir: Path, synthetic_dir: Path
) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    config = TokenizerConfig(vocab_size=512)
    shards = [*sorted(documents_dir.glob("*.parquet")), *synthetic_dir.glob("*.parquet")]
    train_bpe([piece.text for piece in take_sample(shards, config)], config, folder)
    return folder
