from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from corpus_small import context
from pydantic import TypeAdapter, ValidationError
from shapes import SHAPES, N, Shape, write
from web import Web

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.source_presets import preset_families
from openseek.config.sources import SourceConfig, Sources
from openseek.corpus import read_documents
from openseek.corpus.step import ingest

ADAPTER: TypeAdapter[tuple[SourceConfig, ...]] = TypeAdapter(Sources)
NAMES = sorted(name for members in preset_families().values() for name in members)
TOKENS = [n for n in NAMES if n.startswith("openseek-100b-")]


def preset(name: str, **fields: object) -> SourceConfig:
    (found,) = ADAPTER.validate_python([{"preset": name, **fields}])
    return found


def documents(
    source: SourceConfig, tmp_path: Path, runtime: RuntimeConfig
) -> list[dict[str, object]]:
    out = FolderOutput(tmp_path / "out")
    metrics = ingest(context([source], runtime, out))
    assert not metrics["quarantined"]
    return [r for p in sorted(out.root.glob("*.parquet")) for r in read_documents(p)]


def test_every_preset_has_a_shape_to_be_tested_with() -> None:
    assert sorted(SHAPES) == [n for n in NAMES if n not in TOKENS]
    assert len(TOKENS) == 84


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_preset_reads_files_of_the_published_shape(
    name: str, tmp_path: Path, runtime: RuntimeConfig, serial: list[str], web: Web
) -> None:
    shape = SHAPES[name]
    write(shape, tmp_path / "copy")
    source = preset(name, root=str(tmp_path / "copy"))
    if source.columns.text_url:
        for i in range(N):
            web.files[f"/content/b{i}"] = gzip.compress(f"text {i}".encode())
        place = web.url + "/content/{blob_id}"
        source = preset(name, root=str(tmp_path / "copy"), columns={"text_url": place})
    rows = documents(source, tmp_path, runtime)
    assert [r["text"] for r in rows] == [f"text {i}" for i in range(N)]
    for row in rows:
        assert (row["category"], row["lang"]) == (source.category, source.lang)
        assert row["license"] == source.license != ""
        assert row["tier"] == source.tier
    meta = json.loads(str(rows[0]["meta"]))
    assert set(shape.meta) <= set(meta)
    assert meta.get("id", "") == shape.id
    if shape.url:
        assert rows[0]["origin"] == shape.url


@pytest.mark.parametrize("name", [n for n in sorted(SHAPES) if SHAPES[n].file.endswith(".parquet")])
def test_a_preset_says_when_its_columns_are_gone(
    name: str, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    from openseek.errors import DataError

    shape = SHAPES[name]
    write(Shape(shape.file, {"other": "text"}), tmp_path / "copy")
    with pytest.raises(DataError, match=r"no (text )?column .* other") as caught:
        documents(preset(name, root=str(tmp_path / "copy")), tmp_path, runtime)
    assert caught.value.where.endswith(".parquet")
    assert "columns" in caught.value.mend


@pytest.mark.parametrize("name", [TOKENS[0], "openseek-100b-cot_synthesis2_cc-mid-118"])
def test_token_files_of_the_recipe_are_read_as_text(
    name: str, tmp_path: Path, runtime: RuntimeConfig, serial: list[str], byte_vocabulary: Path
) -> None:
    path = str(preset(name).path[0]).replace(".*", ".bin")
    write(Shape(path), tmp_path / "copy")
    source = preset(name, root=str(tmp_path / "copy"), tokenizer=str(byte_vocabulary))
    rows = documents(source, tmp_path, runtime)
    assert [r["text"] for r in rows] == [f"text {i}" for i in range(N)]


def test_the_recipe_has_its_84_files_and_weights() -> None:
    sources = ADAPTER.validate_python([{"preset": "openseek-100b"}])
    assert len({s.path for s in sources}) == 84
    assert sum(s.weight or 0 for s in sources) == pytest.approx(100, abs=0.01)
    shares = {
        c: sum(s.weight or 0 for s in sources if s.category == c) for c in ("cot", "math", "code")
    }
    assert shares == pytest.approx({"cot": 64.5, "math": 5.14, "code": 3.12}, abs=0.05)
    chinese = sum(s.weight or 0 for s in sources if s.lang == "zh-Hans")
    assert chinese == pytest.approx(6.10, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_described(name: str) -> None:
    source = preset(name)
    assert source.name == name
    assert source.about
    assert source.card.startswith("https://")
    assert source.license


def test_a_family_stands_for_its_parts() -> None:
    entries = [{"preset": "nemotron-cc", "only": ["high-*"], "max_bytes": "1GB"}]
    sources = ADAPTER.validate_python(entries)
    assert len(sources) == 6
    assert {s.max_bytes for s in sources} == {10**9}
    assert len(ADAPTER.validate_python([{"preset": "nemotron-cc"}])) == 11
    (web,) = ADAPTER.validate_python([{"preset": "fineweb-edu"}])  # its samples overlap
    assert web.name == "fineweb-edu-all"
    (own,) = ADAPTER.validate_python([{"preset": "dolma-wiki", "path": "/data/*.jsonl"}])
    assert (own.path, own.root, own.listing) == (("/data/*.jsonl",), "", "")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"preset": "dolma-news"}, "dolma has dolma-wiki, dolma-books"),
        ({"preset": "dolma", "only": "news"}, "it has dolma-wiki"),
        ({"preset": "dolma", "name": "mine"}, "stands for 5 sources"),
    ],
)
def test_a_wrong_part_says_what_there_is(entry: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ADAPTER.validate_python([entry])


def test_places_of_a_preset_are_not_part_of_what_it_is() -> None:
    assert preset("dolma-wiki").identity() == preset("dolma-wiki", root="/copy").identity()
