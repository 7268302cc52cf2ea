from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_small import contents, context, jsonl, source
from web import Web

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus import fingerprint, read_documents
from openseek.corpus.http import TRIES, open_http
from openseek.corpus.step import ingest
from openseek.corpus.streams import open_bytes
from openseek.errors import ConfigError, DataError, OpenSeekError, TransientError

ROWS = [{"text": f"document {i} " + hashlib.sha256(b"%d" % i).hexdigest() * 5} for i in range(1200)]


def texts(root: Path) -> list[str]:
    shards = sorted(root.glob("*.parquet"), key=lambda p: p.stem)
    return [str(r["text"]) for p in shards for r in read_documents(p)]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_broken_connection_is_gone_on_with(
    name: str, ranges: bool, web: Web, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    data = jsonl(ROWS)
    web.files["/d/" + name] = gzip.compress(data, 1) if name.endswith(".gz") else data
    web.ranges = ranges
    step = context([source(path=f"{web.url}/d/{name}")], runtime, FolderOutput(tmp_path / "out"))
    web.cut, web.cuts = 9_000, 3
    if not ranges:
        web.cuts, web.cut = 1, 9_000
    web.seen.clear()
    metrics = ingest(step)
    assert texts(tmp_path / "out") == [r["text"] for r in ROWS]
    assert not metrics["quarantined"]
    resumed = [asked for _, asked in web.seen if asked]
    assert resumed[0] == "bytes=9000-"
    assert web.cuts == 0


def test_a_file_is_read_in_parts_by_range(
    web: Web, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    web.files["/a.jsonl"] = jsonl(ROWS)
    out = FolderOutput(tmp_path / "out")
    ingest(context([source(path=web.url + "/a.jsonl")], runtime, out, shard_bytes=100_000))
    assert len(serial) == len(web.files["/a.jsonl"]) // 100_000 + 1
    assert texts(out.root) == [r["text"] for r in ROWS]
    (tmp_path / "a.jsonl").write_bytes(web.files["/a.jsonl"])
    local = FolderOutput(tmp_path / "local")
    path = str(tmp_path / "a.jsonl")
    ingest(context([source(path=path)], runtime, local, shard_bytes=100_000))
    assert contents(local.root) == contents(out.root)


def test_parquet_is_read_from_a_web_server(
    web: Web, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=100)
    web.files["/d/a.parquet"] = file.getvalue()
    out = FolderOutput(tmp_path / "out")
    config = source(path=web.url + "/d/a.parquet")
    ingest(context([config], runtime, out, shard_bytes=100_000))
    assert texts(out.root) == [r["text"] for r in ROWS]
    assert len(serial) > 1


def test_a_file_that_changes_is_not_mixed(
    web: Web, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    web.files["/a.jsonl"] = jsonl(ROWS)
    step = context([source(path=web.url + "/a.jsonl")], runtime, FolderOutput(tmp_path / "out"))
    web.version = 2
    with pytest.raises(DataError, match="the file changed"):
        ingest(step)
    web.files["/large"] = bytes(3_000_000)
    with open_http(web.url + "/large") as file:
        file.read(10)
        web.version = 3
        file.seek(2_500_000)
        with pytest.raises(DataError, match="the file changed"):
            file.read(10)


@pytest.mark.parametrize(
    ("codes", "error"),
    [
        ([503, 500, 429], None),
        ([403], ConfigError),
        ([404], DataError),
        ([400], DataError),
        ([500] * 3 * TRIES, TransientError),
    ],
)
def test_a_servers_refusal_is_told_and_a_fault_tried_again(
    codes: list[int], error: type[OpenSeekError] | None, web: Web, runtime: RuntimeConfig
) -> None:
    web.files["/a.jsonl"] = jsonl(ROWS[:3])
    web.fail = list(codes)
    config = source(path=web.url + "/a.jsonl")
    if error is None:
        assert fingerprint(config, runtime).files[0].size == len(web.files["/a.jsonl"])
        return
    with pytest.raises(error) as caught:
        fingerprint(config, runtime)
    assert caught.value.where == web.url + "/a.jsonl"
    assert caught.value.mend


def test_an_empty_file_and_the_end_of_a_file(web: Web) -> None:
    web.files = {"/empty": b"", "/a": b"0123456789"}
    with open_bytes(web.url + "/empty") as file:
        assert file.read() == b""
    with open_bytes(web.url + "/a") as file:
        assert (file.seek(-3, io.SEEK_END), file.read()) == (7, b"789")
        assert (file.seek(10), file.read()) == (10, b"")
        assert (file.seek(25), file.read()) == (25, b"")
        assert (file.seek(2), file.read(2), file.tell()) == (2, b"23", 4)


def test_a_server_is_searched_by_its_listing_or_its_links(web: Web, runtime: RuntimeConfig) -> None:
    for name in ("x/1.jsonl", "x/deep/2.jsonl", "x/deep/note.txt", "y/3.jsonl"):
        web.files["/data/" + name] = jsonl([{"text": name}])
    web.files["/data/"] = b'<a href="x/">x</a> <a href="y/">y</a> <a href="../">up</a>'
    web.files["/data/x/"] = b"<a href='1.jsonl'>1</a> <a class=z href=\"deep/\">deep</a>"
    web.files["/data/x/deep/"] = b'<A HREF="/data/x/deep/2.jsonl">2</A><a href="note.txt">n</a>'
    web.files["/data/y/"] = b'<a href="3.jsonl">3</a> <a href="3.jsonl?raw">again</a>'
    paths = b"data/x/1.jsonl\ndata/x/deep/2.jsonl\n\ndata/x/deep/note.txt\ndata/y/3.jsonl\n"
    web.files["/data/paths.gz"] = gzip.compress(paths)

    def found(path: str, **more: str) -> list[str]:
        config = source(root=web.url + "/data", path=path, files="*.jsonl", **more)
        return [f.name for f in fingerprint(config, runtime).files]

    for more in ({}, {"listing": "paths.gz"}):
        assert found("x/*.jsonl", **more) == ["1.jsonl"]
        assert found("x/**/*.jsonl", **more) == ["1.jsonl", "deep/2.jsonl"]
        assert found("*/*.jsonl", **more) == ["x/1.jsonl", "y/3.jsonl"]
    assert found("x/") == ["1.jsonl", "deep/2.jsonl"]
    assert found("y/3.jsonl") == ["3.jsonl"]
    with pytest.raises(DataError, match="no file matches"):
        found("z/*.jsonl", listing="paths.gz")


@pytest.fixture
def hub(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """Make the web server a hub with one dataset, whose large files lie elsewhere."""
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    sha, rows = "a" * 40, jsonl(ROWS[:5])
    api = "/api/datasets/o/n"
    tree = [
        {"type": "directory", "path": "d/in", "oid": "1", "size": 0},
        {
            "type": "file", "path": "d/in/x.jsonl", "oid": "2", "size": len(rows),
            "lfs": {"oid": "c" * 64, "size": len(rows), "pointerSize": 9},
        },
        {"type": "file", "path": "d/y.jsonl", "oid": "b3", "size": len(rows)},
        {"type": "file", "path": "d/README.md", "oid": "4", "size": 3},
    ]  # fmt: skip
    info = {"id": "o/n", "sha": sha, "private": False, "tags": [], "siblings": []}
    for revision in ("main", sha):
        web.files[f"{api}/revision/{revision}"] = json.dumps(info).encode()
        web.files[f"{api}/tree/{revision}/d"] = json.dumps(tree).encode()
    web.files["/cdn/x"] = web.files[f"/datasets/o/n/resolve/{sha}/d/y.jsonl"] = rows
    web.redirect[f"/datasets/o/n/resolve/{sha}/d/in/x.jsonl"] = web.url + "/cdn/x"
    return web


def test_a_hub_is_read_at_the_commit_that_was_pinned(
    hub: Web, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    config = source(root="hf://datasets/o/n", path="d/**/*.jsonl")
    snapshot = fingerprint(config, runtime)
    assert [(f.name, f.digest) for f in snapshot.files] == [
        ("in/x.jsonl", "sha256:" + "c" * 64),
        ("y.jsonl", "etag:b3"),
    ]
    assert all("@" + "a" * 40 in f.url for f in snapshot.files)
    out = FolderOutput(tmp_path / "out")
    ingest(context([config], runtime, out))
    assert sorted(texts(out.root)) == sorted(2 * [r["text"] for r in ROWS[:5]])


def test_the_token_goes_to_the_hub_alone(hub: Web) -> None:
    url = "hf://datasets/o/n@" + "a" * 40
    with open_bytes(url + "/d/y.jsonl") as file:
        assert file.read(5)
    assert hub.headers.get("Authorization") == "Bearer hf_test"
    with open_bytes(url + "/d/in/x.jsonl") as file:
        assert file.read(5)
    assert hub.seen[-1][0] == "/cdn/x"
    assert "Authorization" not in hub.headers


def test_a_hub_says_what_is_not_there(hub: Web, runtime: RuntimeConfig) -> None:
    with pytest.raises(ConfigError, match="not the URL of a hub"):
        fingerprint(source(path="hf://datasets/o"), runtime)
    with pytest.raises(DataError, match="no such file"):
        fingerprint(source(path="hf://datasets/o/none/**/*.jsonl"), runtime)
