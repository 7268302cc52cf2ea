from __future__ import annotations

from pathlib import Path

import pytest

from openseek.config.recipes import KnowledgeConfig, RecipeConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.config.teachers import TeacherConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import ConfigError
from openseek.synthesis.pinning import pin

TEACHER = TeacherConfig(kind="openai", model="m", base_url="http://127.0.0.1:9/v1")


def write_rows(folder: Path, text: str) -> None:
    row = make_document(text, source="a", category="cot", lang="en", license="x", origin="1")
    write_documents(folder / "synthetic-00000.parquet", [row])


def test_another_content_under_the_same_name_is_another_step(tmp_path: Path) -> None:
    seeds, rows = tmp_path / "seeds.jsonl", tmp_path / "rows"
    rows.mkdir()
    config = SynthesisConfig(
        teacher=TEACHER,
        recipes=(RecipeConfig(name="long_cot_forward", rows_from=str(rows)),),
        knowledge=KnowledgeConfig(seeds=str(seeds)),
    )
    found = []
    for content, text in (("a", "first"), ("b", "first"), ("b", "second"), ("b", "second")):
        seeds.write_text(content)
        write_rows(rows, text)
        found.append(pin(config, RuntimeConfig()).identity())
    assert found[0] != found[1] != found[2] == found[3]
    assert pin(SynthesisConfig(), RuntimeConfig()) == SynthesisConfig()


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = SynthesisConfig(annotations=str(tmp_path / "annotations.jsonl"))
    with pytest.raises(ConfigError, match=r"annotations\.jsonl"):
        pin(config, RuntimeConfig())
