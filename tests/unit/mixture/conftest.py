from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.mixture import MixStepConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.tokens import TokenizerConfig, TokensConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.mixture import mix
from openseek.tokens import step, tokenise, train_bpe

LABELS = [
    ("web", "foundation", "en"),
    ("zh", "foundation", "zh-Hans"),
    ("py", "code", "code"),
    ("set", "math", "en"),
    ("qa", "cot", "en"),
]


def make_rows(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        source, category, lang = LABELS[i % len(LABELS)]
        words = rng.choice(["one", "two", "three", "four", "five", "six"], int(rng.integers(1, 90)))
        text = f"{source} {i}: " + " ".join(words)
        rows.append(
            make_document(
                text, source=source, category=category, lang=lang, license="x", origin=str(i)
            )
        )
    return rows


def make_tokens(root: Path, rows: list[dict[str, Any]], config: TokensConfig) -> Path:
    (root / "documents").mkdir()
    for shard in range(3):
        write_documents(root / "documents" / f"all-{shard:05d}.parquet", rows[shard::3])
    texts = [row["text"] for row in rows]
    train_bpe(texts, TokenizerConfig(vocab_size=320), root / "tokenizer")
    inputs = {name: FolderFiles(root / name) for name in ("documents", "tokenizer")}
    out = FolderOutput(root / "tokens")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            step, "map_shards", lambda fn, shards, *, args, **_: [fn(s, *args) for s in shards]
        )
        out.finish(tokenise(StepContext(config, inputs, out, RuntimeConfig())))
    return root / "tokens"


@pytest.fixture(scope="session")
def tokens_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Token shards of 300 documents in three shards, five labels each."""
    return make_tokens(tmp_path_factory.mktemp("mixture"), make_rows(300), TokensConfig())


@pytest.fixture(scope="session")
def labelled_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same documents with domains: one in five has none."""
    rows = make_rows(300)
    names = np.random.default_rng(9).choice(["law", "law", "seas", "general", ""], len(rows))
    for row, name in zip(rows, names, strict=True):
        row["meta"] = json.dumps({"domain": str(name)} if name else {})
    return make_tokens(tmp_path_factory.mktemp("labelled"), rows, TokensConfig(domains=True))


def run_mix(tokens_dir: Path, out: Path, **values: Any) -> dict[str, Any]:
    config = MixStepConfig.model_validate(
        {"stage": "foundation", "tokens": 4_000, "sequence_length": 16, "seed": 3, **values}
    )
    inputs = {"tokens": FolderFiles(tokens_dir)}
    metrics = mix(StepContext(config, inputs, FolderOutput(out), RuntimeConfig()))
    return dict(metrics)


@pytest.fixture(scope="session")
def run() -> Any:
    return run_mix
