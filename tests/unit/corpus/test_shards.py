from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openseek.corpus import (
    DOCUMENT_SCHEMA,
    make_document,
    read_documents,
    shards,
    write_documents,
)
from openseek.corpus.quarantine import Quarantine, check_bad_fraction
from openseek.errors import DataError


def documents(n: int) -> list[dict[str, object]]:
    return [
        make_document(
            f"文本 {i} " * 20,
            source="s",
            category="code",
            lang="en",
            license="MIT",
            origin=f"f#{i}",
            meta={"b": i, "a": "x"},
        )
        for i in range(n)
    ]


def test_rows_and_tables_give_the_same_bytes(tmp_path: Path) -> None:
    rows = documents(4500)
    assert write_documents(tmp_path / "rows.parquet", iter(rows)) == 4500
    table = pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    write_documents(tmp_path / "table.parquet", chunked)
    assert (tmp_path / "rows.parquet").read_bytes() == (tmp_path / "table.parquet").read_bytes()
    meta = pq.ParquetFile(tmp_path / "rows.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(3)] == [2000, 2000, 500]
    assert list(read_documents(tmp_path / "rows.parquet")) == rows


def test_an_empty_shard_has_the_schema(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.parquet", [])
    assert pq.read_schema(tmp_path / "a.parquet").equals(DOCUMENT_SCHEMA)
    assert list(read_documents(tmp_path / "a.parquet")) == []


def test_what_is_no_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="not a parquet file"):
        list(read_documents(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match="no column 'id'; it has text"):
        list(read_documents(tmp_path / "b.parquet"))
    with pytest.raises(DataError, match="no column 'id'"):
        write_documents(tmp_path / "c.parquet", pa.table({"text": ["a"]}))


def test_an_id_depends_on_source_place_and_text() -> None:
    one = documents(2)
    assert one == documents(2)
    assert one[0]["id"] != one[1]["id"]
    assert json.loads(str(one[1]["meta"])) == {"a": "x", "b": 1}


def test_quarantine_counts_samples_and_writes(tmp_path: Path) -> None:
    with Quarantine(tmp_path / "q.jsonl") as quarantine:
        for i in range(7):
            quarantine.add("not JSON", source="s", origin=f"f#{i}", text="x" * 5000)
        quarantine.add("not UTF-8", source="s", origin="f#8", text="\ud800")
    rows = [json.loads(x) for x in (tmp_path / "q.jsonl").read_text("utf-8").split("\n") if x]
    assert [r["origin"] for r in rows] == [f"f#{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8)]
    assert quarantine.counts == {"not JSON": 7, "not UTF-8": 1}
    assert [len(v) for v in quarantine.samples.values()] == [5, 1]
    assert len(quarantine.samples["not JSON"][0]["text"]) == 300


def test_too_many_bad_rows_fail_with_a_reason_and_an_example() -> None:
    samples = {"not JSON": [{"origin": "f#1", "text": "{"}]}
    check_bad_fraction({"not JSON": 10}, 10, 0.01, where="x")
    check_bad_fraction({"not JSON": 11}, 1100, 0.01, where="x")
    with pytest.raises(DataError, match=r"11 of 1000 rows are bad \(not JSON: 11\).*f#1"):
        check_bad_fraction({"not JSON": 11}, 1000, 0.01, where="x", samples=samples)


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 9))
def test_lots_of_a_table_give_the_bytes_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], lot: int
) -> None:
    folder = tmp_path_factory.mktemp("lots")
    rows = [{**row, "text": "é" * n} for row, n in zip(documents(12), lengths, strict=False)]
    table = pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS", 4)
        patch.setattr(shards, "GROUP_BYTES", 50)
        write_documents(folder / "whole.parquet", table)
        write_documents(folder / "rows.parquet", rows)
        with shards.TableWriter(folder / "lots.parquet") as writer:
            for start in range(0, len(rows), lot):
                writer.add(table.slice(start, lot))
    assert writer.rows == len(rows)
    whole = (folder / "whole.parquet").read_bytes()
    assert (folder / "lots.parquet").read_bytes() == whole
    assert (folder / "rows.parquet").read_bytes() == whole
