from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from corpus_small import contents, context, jsonl, source

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.corpus import DOCUMENT_SCHEMA, read_documents
from openseek.corpus.step import ingest
from openseek.errors import DataError

ROWS = [{"text": f"document {i} " + "lorem ipsum " * (i % 50), "n": i} for i in range(1500)]


def read(root: Path) -> list[dict[str, object]]:
    return [row for p in sorted(root.glob("*.parquet")) for row in read_documents(p)]


@pytest.fixture
def web(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(jsonl(ROWS[:1000]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(jsonl(ROWS[1000:])))
    return folder


def test_ingest_gives_documents_with_provenance_and_counts(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "m.py").write_text("x = 1\n", encoding="utf-8")
    (code / "empty.py").write_text("\n", encoding="utf-8")
    sources = [
        source(path=str(web), tier="high"),
        source(name="code", path=str(code), category="code", lang="code"),
    ]
    out = FolderOutput(tmp_path / "out")
    metrics = ingest(context(sources, runtime, out))
    rows = read(out.root)
    assert [r["text"] for r in rows if r["source"] == "web"] == [r["text"] for r in ROWS]
    first = next(r for r in rows if r["source"] == "code")
    assert list(first) == DOCUMENT_SCHEMA.names
    assert (first["origin"], first["category"], first["license"]) == ("m.py", "code", "MIT")
    assert metrics["documents_in"] == 1502
    assert metrics["documents_out"] == len(rows) == 1501
    assert metrics["bytes_out"] == sum(len(str(r["text"]).encode()) for r in rows)
    assert metrics["dropped"] == {"empty": 1}
    assert metrics["by_source"]["code"]["documents_out"] == 1
    assert [(s["name"], s["documents"], s["missing"]) for s in metrics["sources"]] == [
        ("web", 1500, ""),
        ("code", 1, ""),
    ]
    json.dumps(metrics, allow_nan=False)


def test_a_killed_ingest_goes_on_and_ends_the_same(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    whole, resumed = FolderOutput(tmp_path / "whole"), FolderOutput(tmp_path / "resumed")
    sources = [source(path=str(web), max_document=1000)]
    (web / "c.jsonl").write_bytes(b'{"text": "cut' + b"\n" + jsonl([{"text": "y" * 2000}]))
    expected = ingest(context(sources, runtime, whole, shard_bytes=100_000))
    shards = sorted(whole.shards())
    assert len(shards) >= 4
    for name in (
        "_shards/" + shards[0] + ".json",
        *(f.name for f in whole.shards()[shards[0]].files),
    ):
        (resumed.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole.root / name, resumed.root / name)
    serial.clear()
    assert ingest(context(sources, runtime, resumed, shard_bytes=100_000)) == expected
    assert serial == [s for s in shards[1:] if "." not in s]  # the rest are pieces of a part
    assert contents(resumed.root) == contents(whole.root)
    assert expected["quarantined"] == {"line longer than 1000 bytes": 1, "not JSON": 1}
    assert any(n.startswith("quarantine/web-") for n in contents(whole.root))


def test_documents_do_not_depend_on_the_size_of_shards(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    small, large = FolderOutput(tmp_path / "small"), FolderOutput(tmp_path / "large")
    ingest(context([source(path=str(web))], runtime, small, shard_bytes=100_000))
    ingest(context([source(path=str(web))], runtime, large))
    assert len(list(small.root.glob("*.parquet"))) > len(list(large.root.glob("*.parquet")))
    assert sorted(map(str, read(small.root))) == sorted(map(str, read(large.root)))
    sizes = [
        sum(len(str(r["text"])) for r in read_documents(p)) for p in small.root.glob("*.parquet")
    ]
    assert max(sizes) <= 101_000


def test_max_bytes_bounds_a_source(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    out = FolderOutput(tmp_path / "out")
    metrics = ingest(context([source(path=str(web), max_bytes="50kB")], runtime, out))
    assert 45_000 < metrics["bytes_out"] <= 50_000


def _archives(folder: Path) -> dict[str, Path]:
    members = {"d/a.md": b"first text", "d/b.md": b"second text", "d/c.bin": b"\xff"}
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        for name, data in members.items():
            info = tarfile.TarInfo("./" + name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(folder / "x.zip", "w") as z:
        for name, data in members.items():
            z.writestr(name, data)
    packed = gzip.compress(tar.getvalue())
    (folder / "x.tar.gz").write_bytes(packed)
    parts = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"abc"), ("data.tar.gz", packed)]
    deb = b"!<arch>\n"
    for name, data in parts:
        deb += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        deb += data + b"\n" * (len(data) % 2)
    (folder / "x.deb").write_bytes(deb)
    return {p.suffix: p for p in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".zip", ".gz", ".deb"])
def test_archives_are_read_like_folders(
    suffix: str, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    path = _archives(tmp_path / "in")[suffix]
    out = FolderOutput(tmp_path / "out")
    ingest(context([source(path=str(path), files="*.md")], runtime, out))
    found = [(r["text"], r["origin"]) for r in read(out.root)]
    assert found == [("first text", f"{path.name}/d/a.md"), ("second text", f"{path.name}/d/b.md")]
    with pytest.raises(DataError, match="no member matches"):
        ingest(
            context([source(path=str(path), files="*.rst")], runtime, FolderOutput(tmp_path / "o"))
        )


def test_installed_packages_are_sources(
    tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    out = FolderOutput(tmp_path / "out")
    config = source(installed=["pydantic"], files="pydantic/f*.py", category="code", lang="code")
    ingest(context([config], runtime, out))
    origins = [str(r["origin"]) for r in read(out.root)]
    assert any(o.startswith("installed:pydantic==") and o.endswith("/fields.py") for o in origins)


def test_an_empty_source_and_a_missing_path_are_errors(
    tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    (tmp_path / "e").mkdir()
    with pytest.raises(DataError, match="no file matches"):
        context([source(path=str(tmp_path / "e"))], runtime, FolderOutput(tmp_path / "o"))
    with pytest.raises(DataError, match="no such file or folder"):
        context([source(path=str(tmp_path / "nowhere"))], runtime, FolderOutput(tmp_path / "o"))
    (tmp_path / "e" / "a.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="no document in 1 files"):
        ingest(context([source(path=str(tmp_path / "e"))], runtime, FolderOutput(tmp_path / "o")))


def test_a_missing_package_is_noted_and_the_run_goes_on(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    gone = source(name="gone", deb="some-doc", lang="zh-Hans")
    out = FolderOutput(tmp_path / "out")
    metrics = ingest(context([source(path=str(web)), gone], runtime, out))
    assert "runtime.offline" in metrics["sources"][1]["missing"]
    assert metrics["by_source"]["gone"]["documents_out"] == 0
    with pytest.raises(DataError, match="none of the sources could be had"):
        ingest(context([gone], runtime, out))


def test_too_many_bad_rows_fail_the_step(
    tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{\n" * 20 + jsonl([{"text": "good"}] * 100))
    with pytest.raises(DataError, match="20 of 120 rows are bad"):
        ingest(
            context([source(path=str(tmp_path / "a.jsonl"))], runtime, FolderOutput(tmp_path / "o"))
        )


def test_a_file_that_changed_since_it_was_pinned_is_refused(
    web: Path, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    step = context([source(path=str(web))], runtime, FolderOutput(tmp_path / "o"))
    (web / "a.jsonl").write_bytes(jsonl(ROWS[:3]))
    with pytest.raises(DataError, match="changed since the run was planned"):
        ingest(step)


@pytest.mark.ray
def test_two_workers_give_what_one_gives(web: Path, tmp_path: Path, runtime: RuntimeConfig) -> None:
    from openseek.compute import shutdown

    out = FolderOutput(tmp_path / "out")
    step = context([source(path=str(web))], runtime, out, shard_bytes=100_000)
    step.runtime = runtime.model_copy(update={"workers": 2})
    try:
        ingest(step)
    finally:
        shutdown()
    assert sorted(str(r["text"]) for r in read(out.root)) == sorted(r["text"] for r in ROWS)
