from __future__ import annotations

from pathlib import Path

import pytest
from corpus_small import source
from pydantic import TypeAdapter, ValidationError

from openseek.config.sources import Category, SourceConfig, Sources
from openseek.corpus.document import Category as DocumentCategory

ADAPTER: TypeAdapter[tuple[SourceConfig, ...]] = TypeAdapter(Sources)


def test_the_categories_are_those_of_a_document() -> None:
    assert Category == DocumentCategory


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "exactly one place, got none"),
        ({"path": "a", "deb": "b"}, "path and deb"),
        ({"pypi": "snownlp"}, "name==version"),
        ({"npm": "@scope/name"}, "name@version"),
        ({"path": "a", "name": "Has Space"}, "name"),
        ({"path": "a", "colums": {}}, "colums"),
        ({"path": "a", "max_bytes": "many"}, "256MB"),
    ],
)
def test_a_wrong_source_is_refused_with_its_key(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        source(**fields)


def test_a_place_is_not_part_of_a_source() -> None:
    here, there = source(path="a/b"), source(path="s3://bucket/a")
    assert here.identity() == there.identity()
    assert here.identity() != source(path="a/b", lang="zh-Hans").identity()


def test_presets_and_included_files_become_sources(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        "- {name: notes, path: notes, category: foundation}\n", encoding="utf-8"
    )
    entries = [{"preset": "opc-fineweb-math", "max_bytes": "1GB"}, {"include": "more.yaml"}]
    web, notes = ADAPTER.validate_python(entries, context={"folder": tmp_path})
    assert (web.name, web.max_bytes, web.category) == ("opc-fineweb-math", 10**9, "math")
    assert web.root == "hf://datasets/OpenCoder-LLM/opc-fineweb-math-corpus"
    assert notes.path == ("notes",)


def test_the_demo_has_all_categories_and_three_languages() -> None:
    sources = ADAPTER.validate_python("configs/sources/demo.yaml")
    kinds = {(s.category, s.lang) for s in sources}
    assert {c for c, _ in kinds} == {"foundation", "code", "math", "cot"}
    assert {"en", "zh-Hans", "zh-Hant"} <= {lang for _, lang in kinds}
    assert all(s.license != "unknown" for s in sources)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{"preset": "nothing"}], "fineweb-edu"),
        ([{"include": "nowhere.yaml"}], "nowhere.yaml"),
        (
            [
                {"name": "a", "path": "x", "category": "code"},
                {"name": "a", "path": "y", "category": "code"},
            ],
            "two sources are named 'a'",
        ),
    ],
)
def test_a_wrong_list_says_what_there_is(entries: list[object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ADAPTER.validate_python(entries)
