"""The layers alone, on plain folders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_shell import Shell

from openseek.corpus.shards import make_document, write_documents


def test_mix_audit_of_a_list_of_weights(openseek: Shell, home: Path) -> None:
    weights = home / "weights.csv"
    weights.write_text("name,weight\ncot_synthesis_CC,6\nNemotron-CC-high,3\nproof-pile-2,1\n")
    report = openseek("mix", "audit", weights, "--json").json()
    assert report["entries"] == 3
    assert report["shares"]["category"]["cot"] == pytest.approx(0.6)
    assert any("chain of thought" in f["message"] for f in report["findings"])
    assert "60.0 %" in openseek("mix", "audit", weights).out
    missing = openseek("mix", "audit", "nowhere.csv", "--json")
    assert (missing.code, missing.json()["kind"]) == (1, "DataError")


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


@pytest.fixture
def documents(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("openseek.cleaning.step.map_shards", serial)
    prose = (
        "The boats that have to go down the river with the grain pass town number {}. "
        "Nobody would be surprised if half of them were late, for it rained all week. "
    )
    long = [prose.format(n) for n in range(6)]
    rows = [
        make_document(
            text,
            source="web",
            category="foundation",
            lang="en",
            license="MIT",
            origin=str(n),
        )
        for n, text in enumerate([*long, "too short"])
    ]
    (home / "in").mkdir()
    write_documents(home / "in" / "web-00000.parquet", rows)
    return home / "in"


def test_data_clean_on_a_folder(openseek: Shell, home: Path, documents: Path) -> None:
    done = openseek("data", "clean", documents, "out", "--json")
    assert done.code == 0, done.err
    metrics = done.json()
    assert (metrics["documents_in"], metrics["documents_out"]) == (7, 6)
    assert pq.read_table(home / "out" / "web-00000.parquet").num_rows == 6
    assert json.loads((home / "out" / "_report.json").read_text())["documents_out"] == 6
    again = openseek("data", "clean", documents, "out", "--json")
    assert again.json() == metrics
    assert "documents_out" in openseek("data", "clean", documents, "out").out


def test_data_clean_reads_jsonl_with_a_column_of_another_name(
    openseek: Shell, home: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openseek.corpus.step.map_shards", serial)
    rows = pq.read_table(documents / "web-00000.parquet", columns=["text"]).to_pylist()
    lines = "".join(json.dumps({"body": row["text"]}) + "\n" for row in rows)
    (home / "raw").mkdir()
    (home / "raw" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    call = ("data", "clean", "raw", "out", "--text", "body", "--lang", "en", "--json")
    done = openseek(*call)
    assert done.code == 0, done.err
    assert (done.json()["documents_in"], done.json()["documents_out"]) == (7, 6)
    (kept,) = (home / "out").glob("*.parquet")
    table = pq.read_table(kept).to_pylist()
    assert {(r["source"], r["category"], r["lang"]) for r in table} == {("raw", "foundation", "en")}
    assert openseek(*call).json() == done.json()


def test_a_folder_of_another_call_is_never_taken_for_this_ones(
    openseek: Shell, home: Path, documents: Path
) -> None:
    assert openseek("data", "clean", documents, "out").code == 0
    other = openseek("data", "clean", documents, "out", "--set", "pii.enabled=false")
    assert other.code == 2
    assert "another call (config.pii.enabled)" in other.err
    (home / "mine").mkdir()
    (home / "mine" / "thesis.txt").write_text("x")
    taken = openseek("data", "clean", documents, "mine")
    assert taken.code == 2
    assert "not empty (thesis.txt)" in taken.err


def test_data_clean_says_which_keys_a_section_has(
    openseek: Shell, home: Path, documents: Path
) -> None:
    done = openseek("data", "clean", documents, "out", "--set", "presset=cci4")
    assert done.code == 2
    assert "presset" in done.err
    assert "preset" in done.err.partition("Keys of this section")[2]
    assert not (home / "out").exists()


def test_a_missing_input_folder_leaves_no_output_folder(openseek: Shell, home: Path) -> None:
    done = openseek("data", "clean", "nowhere", "out", "--json")
    assert (done.code, done.json()["error"]) == (1, "nowhere: no such folder. Check the path.")
    assert not (home / "out").exists()


def test_synth_knows_its_recipes(
    openseek: Shell, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def step(ctx: Any) -> dict[str, Any]:
        seen.append(ctx.config)
        return {"documents_out": 0}

    monkeypatch.setattr("openseek.synthesis.step.synthesise", step)
    assert openseek("synth", "simple_qa", documents, "out").code == 0
    assert [r.name for r in seen[0].recipes] == ["simple_qa"]
    unknown = openseek("synth", "riddles", documents, "out2")
    assert unknown.code == 2
    assert "simple_qa" in unknown.err
