"""From a token back to the document that its row was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_synthesis_step import CONFIG, Serial, context, documents, rows

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import RecipeConfig
from openseek.config.tokens import TokenizerConfig, TokensConfig
from openseek.synthesis import RECIPES, step
from openseek.synthesis.step import synthesise
from openseek.tokens import step as token_step
from openseek.tokens import tokenise, train_tokenizer


def test_a_row_is_traced_from_the_token_shard_to_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "map_shards", Serial())
    recipes = (RecipeConfig(name="simple_qa", chars_per_item=100, category="code"),)
    config = CONFIG.model_copy(update={"recipes": (*recipes, CONFIG.recipes[1])})
    files = documents(tmp_path / "in")
    synthesise(context(config, tmp_path / "made", documents=files))

    monkeypatch.setattr(
        token_step, "map_shards", lambda fn, shards, *, args=(), **_: [fn(s, *args) for s in shards]
    )
    sizes = TokenizerConfig(vocab_size=512)
    inputs = {"documents": files, "synthetic": FolderFiles(tmp_path / "made")}
    tokenizer = FolderOutput(tmp_path / "tokenizer")
    train_tokenizer(StepContext(sizes, inputs, tokenizer, RuntimeConfig(workers=1), seed=5))
    inputs["tokenizer"] = FolderFiles(tmp_path / "tokenizer")
    out = FolderOutput(tmp_path / "tokens")
    tokenise(StepContext(TokensConfig(), inputs, out, RuntimeConfig(workers=1), seed=5))

    made = {row["id"]: row for row in rows(tmp_path / "made")}
    sources = {row["id"]: row for row in rows(tmp_path / "in")}
    index = json.loads((tmp_path / "tokens/index.json").read_text())
    traced, categories = 0, set()
    for shard in index["shards"]:
        ids = np.load(tmp_path / f"tokens/{shard['name']}.ids.npy").astype(str).tolist()
        for segment in shard["segments"]:
            first = segment["first_document"]
            for id_ in ids[first : first + segment["documents"]]:
                if not segment["source"].startswith("synthetic-"):
                    assert id_ in sources
                    continue
                row = made[id_]
                meta = json.loads(row["meta"])
                source = sources[meta["source_id"]]
                assert row["origin"].startswith(f"{source['source']}/{source['id']}#")
                assert meta["teacher"] == "extractive"
                assert meta["prompt_version"] == RECIPES[meta["recipe"]].version
                assert {"length", "stands_alone", "near_duplicate"} <= set(meta["checks"])
                assert meta["answer"].split()[0] in row["text"]
                assert row["license"] == source["license"]
                categories.add((meta["recipe"], segment["category"]))
                traced += 1
    assert traced == len(made) > 20
    assert categories == {("simple_qa", "code"), ("long_cot_backward", "cot")}
