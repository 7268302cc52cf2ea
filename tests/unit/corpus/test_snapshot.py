from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from corpus_small import context, jsonl, source

from openseek.artifacts.folder import FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import SourceList
from openseek.corpus import (
    SourceMissingError,
    fetch,
    fingerprint,
    read_documents,
    snapshot_sources,
)
from openseek.corpus.snapshot import pin
from openseek.corpus.step import ingest
from openseek.corpus.streams import access_error
from openseek.errors import ConfigError, DataError, TransientError

ROWS = jsonl([{"text": "one"}, {"text": "two"}])


def test_a_source_is_its_content_not_its_place(tmp_path: Path, runtime: RuntimeConfig) -> None:
    memory = fsspec.filesystem("memory")
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jsonl").write_bytes(ROWS)
    memory.pipe("/bucket/x.jsonl", ROWS)
    places = [
        str(tmp_path / "a"),
        str(tmp_path / "b/c"),
        f"{tmp_path}/a/*.jsonl",
        "memory://bucket",
    ]
    try:
        keys = [fingerprint(source(path=p), runtime).identity() for p in places]
    finally:
        memory.rm("/bucket", recursive=True)
    assert all(key == keys[0] for key in keys)
    assert str(tmp_path) not in str(keys[0])
    (tmp_path / "a" / "x.jsonl").write_bytes(ROWS.replace(b"two", b"too"))
    assert fingerprint(source(path=places[0]), runtime).identity() != keys[0]


def test_digests_are_remembered_until_a_file_changes(
    tmp_path: Path, runtime: RuntimeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(ROWS)
    os.utime(path, ns=(10**18, 10**18))
    config = source(path=str(path))
    first = snapshot_sources([config], runtime)

    def unread(url: str) -> None:
        raise AssertionError(f"{url} was read again")

    monkeypatch.setattr("openseek.corpus.snapshot.open_bytes", unread)
    assert snapshot_sources([config], runtime) == first
    path.write_bytes(ROWS)
    with pytest.raises(AssertionError, match="read again"):
        snapshot_sources([config], runtime)


def test_fallbacks_stand_in_where_something_is_missing(
    tmp_path: Path, runtime: RuntimeConfig
) -> None:
    (tmp_path / "x.jsonl").write_bytes(ROWS)
    here = source(path=str(tmp_path))
    spare = source(name="spare", path=str(tmp_path), fallback=True)
    other = source(name="other", path=str(tmp_path), fallback=True, lang="zh-Hans")
    gone = source(name="gone", pypi="gone==1")
    assert [s.source.name for s in snapshot_sources([here, spare], runtime)] == ["web"]
    found = pin(SourceList(sources=(here, gone, spare, other)), runtime).sources
    assert [(s.source.name, bool(s.missing)) for s in found] == [
        ("web", False),
        ("gone", True),
        ("spare", False),
    ]
    with pytest.raises(SourceMissingError):
        snapshot_sources([source(name="gone", pypi="gone==1", required=True)], runtime)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("x"), DataError),
        (PermissionError("x"), ConfigError),
        (OSError("SignatureDoesNotMatch"), ConfigError),
        (OSError("Unable to locate credentials"), ConfigError),
        (TimeoutError("x"), TransientError),
        (ConnectionRefusedError("x"), TransientError),
        (ValueError("Protocol not known: abc"), ConfigError),
    ],
)
def test_what_a_file_system_raises_becomes_an_error_with_a_mend(
    error: Exception, kind: type[Exception]
) -> None:
    found = access_error(error, "s3://bucket/x")
    assert type(found) is kind
    assert found.mend
    assert found.where == "s3://bucket/x"


def client(folder: Path, name: str, script: str) -> None:
    """Put a client of our own on the PATH."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys, os\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def online(
    tmp_path: Path, runtime: RuntimeConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, RuntimeConfig]:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder, runtime.model_copy(update={"offline": False})


def test_a_package_is_fetched_once_and_used_again(online: tuple[Path, RuntimeConfig]) -> None:
    folder, runtime = online
    client(folder, "npm", "open('poems-1.2.tgz', 'wb').write(b'poems')")
    found = fetch.fetch_npm("poems@1.2", runtime)
    assert (found.package, found.version, found.path.read_bytes()) == ("poems", "1.2", b"poems")
    client(folder, "npm", "sys.exit('must not be asked again')")
    assert fetch.fetch_npm("poems@1.2", runtime.model_copy(update={"offline": True})) == found
    found.path.write_bytes(b"cut")  # what a crash of the machine may leave
    with pytest.raises(SourceMissingError, match="must not be asked again"):
        fetch.fetch_npm("poems@1.2", runtime)


def test_the_first_debian_package_that_there_is_is_taken(
    online: tuple[Path, RuntimeConfig],
) -> None:
    folder, runtime = online
    script = """
name = sys.argv[-1]
if name == 'update': sys.exit(0)
if name != 'doc-15': sys.exit('E: Unable to locate package ' + name)
open('doc-15_1%3a2_all.deb', 'wb').write(b'deb')
"""
    client(folder, "apt-get", script)
    found = fetch.fetch_deb("doc-17 | doc-15", runtime)
    assert (found.package, found.version) == ("doc-15", "1:2")
    with pytest.raises(SourceMissingError, match="Unable to locate package other"):
        fetch.fetch_deb("other", runtime)
    assert not [p for p in (Path(runtime.downloads) / "deb").iterdir() if p.name.startswith(".")]


def test_without_a_network_the_reason_is_given_and_asked_again(
    online: tuple[Path, RuntimeConfig],
) -> None:
    folder, runtime = online
    client(folder, "apt-get", "sys.exit('E: Could not connect, in ' + sys.argv[-1])")
    for _ in range(2):  # lists that failed are not taken for fresh ones
        with pytest.raises(SourceMissingError, match="Could not connect, in update"):
            fetch.fetch_deb("doc", runtime)


def test_a_client_that_is_not_there_is_named(online: tuple[Path, RuntimeConfig]) -> None:
    _, runtime = online
    for get, what in ((fetch.fetch_npm, "a@1"), (fetch.fetch_deb, "a")):
        with pytest.raises(SourceMissingError, match="is not on this machine"):
            get(what, runtime)


@pytest.fixture
def s3_source(s3_env: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import s3fs

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    fsspec.filesystem("s3").pipe(f"{s3_env}/d/x.jsonl", ROWS)
    s3fs.S3FileSystem.clear_instance_cache()
    yield f"{s3_env}/d"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.s3
def test_an_s3_prefix_is_read_like_a_folder(
    s3_source: str, tmp_path: Path, runtime: RuntimeConfig, serial: list[str]
) -> None:
    out = FolderOutput(tmp_path / "out")
    metrics = ingest(context([source(path=s3_source)], runtime, out))
    (shard,) = out.root.glob("*.parquet")
    rows = list(read_documents(shard))
    assert [(r["text"], r["origin"]) for r in rows] == [
        ("one", "x.jsonl#byte=0"),
        ("two", "x.jsonl#byte=16"),
    ]
    assert metrics["sources"][0]["files"] == 1


@pytest.mark.s3
def test_a_wrong_secret_and_a_dead_endpoint_say_so(
    s3_source: str, runtime: RuntimeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigError, match="access is denied"):
        fingerprint(source(path=s3_source), runtime)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="no answer"):
        fingerprint(source(path=s3_source), runtime)
