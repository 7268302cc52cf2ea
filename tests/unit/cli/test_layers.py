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


@pytest.fixture
def raw(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with JSONL that is no document shard."""
    for module in ("corpus", "cleaning", "synthesis"):
        monkeypatch.setattr(f"openseek.{module}.step.map_shards", serial)
    text = "The boats that have to go down the river with the grain pass the old town at noon. "
    lines = [json.dumps({"body": text * 8 + str(n), "n": n}) for n in range(4)]
    (home / "raw").mkdir()
    (home / "raw" / "a.jsonl").write_text("\n".join([*lines, json.dumps({"body": "short"})]))
    return home / "raw"


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        (("raw/a.jsonl", "out"), 1, "a file, not a folder. Give the folder that it lies in"),
        (("raw", "raw"), 2, "raw: it would lie in the input raw. Give a folder beside it"),
        (("raw", "raw/out"), 2, "raw/out: it would lie in the input raw"),
        (("raw", "raw/a.jsonl"), 2, "raw/a.jsonl: it would lie in the input"),
        (("raw", "taken.txt"), 2, "taken.txt: a file, not a folder. Give a new folder"),
        (("raw", "out"), 1, "no text column 'text'; the rows have body, n"),
        (("raw", "out", "--category", "poetry"), 2, "category: Input should be 'foundation'"),
        (("raw", "out", "--workers", "-1"), 2, "'--workers'"),
        (("raw", "out", "--preset", "best"), 2, "preset: Input should be 'standard'"),
        (("raw", "out", "--set", "words.x=1"), 2, "words.x: unknown key"),
        (("raw",), 2, "Missing argument 'OUT'"),
    ],
)
def test_wrong_calls_say_what_is_wrong(
    openseek: Shell, raw: Path, call: tuple[str, ...], code: int, told: str
) -> None:
    (raw.parent / "taken.txt").write_text("mine")
    done = openseek("data", "clean", *call)
    assert done.code == code
    assert told in done.err
    assert "defect" not in done.err
    assert [p.name for p in raw.iterdir()] == ["a.jsonl"]


def test_a_call_mended_goes_on_in_the_same_folder(openseek: Shell, raw: Path) -> None:
    assert openseek("data", "clean", raw, "out").code == 1
    done = openseek("data", "clean", raw, "out", "--text", "body", "--preset", "cci4")
    assert done.code == 0, done.err
    assert "documents_in         5" in done.out
    assert "dropped              " in done.out
    other = openseek("data", "clean", raw, "out", "--text", "body", "--preset", "fineweb")
    assert (other.code, "another call" in other.err) == (2, True)


def test_synth_reads_any_folder_and_says_when_nothing_fits(openseek: Shell, raw: Path) -> None:
    done = openseek("synth", "simple_qa", raw, "out", "--text", "body", "--json")
    assert done.json()["recipes"]["simple_qa"]["documents"] == 4
    none = openseek("synth", "simple_qa", raw, "out2", "--text", "body", "--category", "cot")
    assert none.code == 0
    assert "fits the recipe: categories=" in none.err
    half = openseek("synth", "simple_qa", raw, "out3", "--model", "tiny")
    assert (half.code, "--model without --base-url" in half.err) == (2, True)


def test_ingest_wants_a_list_of_sources(openseek: Shell, home: Path) -> None:
    for text, told in (
        ("hello: there", "no list of sources"),
        ("- {name: x}", "sources.0.category: required"),
        ("- preset: nonsense", "no source preset 'nonsense'; there are: "),
    ):
        (home / "list.yaml").write_text(text)
        done = openseek("data", "ingest", "list.yaml", "out")
        assert done.code == 2
        assert told in done.err
        assert "defect" not in done.err


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
