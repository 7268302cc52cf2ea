"""Sources that change under a run: columns that go or change, and text that is hardly text."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corpus_small import Json, contents, context, jsonl, source

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus import pieces, read_documents
from openseek.corpus.readers.base import TRY_ROWS
from openseek.corpus.step import ingest
from openseek.errors import DataError

COLUMNS = {"text": "text", "id": "id", "url": "src.url", "meta": ["score"]}


def good(i: int) -> Json:
    return {"text": f"text {i}", "id": f"{i}", "src": {"url": f"u{i}"}, "score": 0.5}


def write(path: Path, rows: list[Json]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    else:
        path.write_bytes(jsonl(rows))


def without(*names: str) -> list[Json]:
    return [{k: v for k, v in good(i).items() if k not in names} for i in range(TRY_ROWS + 1)]


def changed(name: str, value: Any) -> list[Json]:
    return [{**good(i), name: value} for i in range(TRY_ROWS + 1)]


def run(folder: Path, runtime: RuntimeConfig, **columns: Any) -> list[Json]:
    config = source(path=str(folder), columns={**COLUMNS, **columns})
    out = FolderOutput(folder.parent / "out")
    ingest(context([config], runtime, out))
    return [r for p in sorted(out.root.glob("*.parquet")) for r in read_documents(p)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (without("text"), "no text column 'text'; the rows have id, src, score"),
        (without("score"), "no column 'score', .*; it has text, id, src"),
        (without("id"), "no column 'id', .*; it has text, src, score"),
        (changed("src", {"link": "u"}), "no column 'src.url'"),
        (changed("text", 7), "'text' holds int(64)?, not strings"),
        (changed("text", ["a"]), "'text' holds list"),
    ],
)
def test_one_file_of_many_that_has_changed_is_named(
    rows: list[Json], says: str, suffix: str, folder: Path, runtime: RuntimeConfig,
    serial: list[str],
) -> None:  # fmt: skip
    for name in ("a", "c"):
        write(folder / (name + suffix), [good(i) for i in range(5)])
    write(folder / ("b" + suffix), rows)
    with pytest.raises(DataError, match=says) as caught:
        run(folder, runtime)
    assert caught.value.where == "b" + suffix
    assert "columns" in caught.value.mend


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_column_may_be_missing_where_the_source_says_so(
    suffix: str, folder: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    write(folder / ("a" + suffix), [good(0)])
    write(folder / ("b" + suffix), without("score", "id", "src"))
    rows = run(folder, runtime, optional=["score", "id", "src.url"])
    assert len(rows) == 1 + TRY_ROWS + 1
    assert json.loads(str(rows[0]["meta"])) == {"id": "0", "score": 0.5}
    assert (json.loads(str(rows[1]["meta"])), rows[1]["origin"]) == ({}, "b.jsonl#byte=0") or (
        rows[1]["origin"] == "b.parquet#row=0"
    )


def test_columns_may_be_null_and_rows_of_json_sparse(
    folder: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    rows = [{**good(i), "score": None} for i in range(TRY_ROWS + 1)]
    write(folder / "a.jsonl", rows)
    write(folder / "b.jsonl", [good(0), *without("score")])
    write(folder / "c.jsonl", without("score")[:10])  # too few to tell
    assert len(run(folder, runtime)) == 2 * TRY_ROWS + 13


def test_surrogates_nul_bytes_and_marks(
    folder: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "after a mark", "url": "u0"}',
        b'{"text": "nul \\u0000 inside", "url": "u1", "m": "\\u0000"}',
        b'{"text": "half a pair \\ud83d", "url": "u2"}',
        b'{"text": "a whole pair \\ud83d\\ude00", "url": "\\udc00 \\ud800", "m": ["\\ud800"]}',
        b'{"text": "\\ufeff mark inside", "url": "u4"}',
    ]
    (folder / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfa mark at the start\x00")
    config = source(path=str(folder), columns={"url": "url", "meta": ["m"], "optional": ["m"]})
    out = FolderOutput(folder.parent / "out")
    metrics = ingest(context([config], runtime, out))
    (shard,) = out.root.glob("*.parquet")
    rows = list(read_documents(shard))
    assert [r["text"] for r in rows] == [
        "after a mark",
        "nul \x00 inside",
        "a whole pair \U0001f600",
        "\ufeff mark inside",
        "a mark at the start\x00",
    ]
    assert metrics["quarantined"] == {"lone surrogate": 1}
    assert (rows[2]["origin"], rows[2]["meta"]) == ("? ?", '{"m": ["?"]}')


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", zstandard.compress)])
@pytest.mark.parametrize(
    ("max_bytes", "n", "killed_at"),
    [(None, 6, 100), (None, 6, 701), (None, 6, 1150), (450_000, 5, 701)],
)
def test_a_kill_in_a_large_compressed_file_keeps_the_shards_that_were_full(
    suffix: str, pack: Any, max_bytes: int | None, n: int, killed_at: int, folder: Path,
    runtime: RuntimeConfig, serial: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    draw = random.Random(0)
    rows = [{"text": f"{i} " + draw.randbytes(240).hex()} for i in range(1200)]
    lines = jsonl(rows).replace(b'{"text": "500 ', b'{"tex": "500 ').replace(b'"650 ', b'"\\ud800')
    (folder / f"a.jsonl.{suffix}").write_bytes(pack(lines))
    config = source(path=str(folder), max_bytes=max_bytes)
    whole, killed = FolderOutput(folder.parent / "w"), FolderOutput(folder.parent / "k")
    expected = ingest(context([config], runtime, whole, shard_bytes=100_000))
    assert expected["quarantined"] == {"lone surrogate": 1, "no text column": 1}
    assert len(whole.shards()) == n

    real, count = pieces.make_document, 0

    def kill(*args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == killed_at:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(pieces, "make_document", kill)
    with pytest.raises(KeyboardInterrupt):
        ingest(context([config], runtime, killed, shard_bytes=100_000))
    kept = len(killed.shards())
    assert kept == (killed_at - 1) // 206
    count = -10_000
    assert ingest(context([config], runtime, killed, shard_bytes=100_000)) == expected
    assert count + 10_000 == expected["documents_out"] - 206 * kept  # only what was missing
    assert contents(killed.root) == contents(whole.root)


def test_a_lost_shard_in_the_middle_is_made_again(
    folder: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    rows = [{"text": f"{i} " + "x" * 500} for i in range(1000)]
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(jsonl(rows)))
    out = FolderOutput(folder.parent / "o")
    work = context([source(path=str(folder))], runtime, out, shard_bytes=100_000)
    expected = ingest(work)
    before = contents(out.root)
    (out.root / "web-00000-002.parquet").unlink()
    assert ingest(work) == expected
    assert contents(out.root) == before
