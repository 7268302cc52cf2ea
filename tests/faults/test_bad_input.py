"""Bad input and a bad world, through the store: a clear error or a counted row, never a half."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
import zstandard

from openseek import compute
from openseek.artifacts import Manifest, backend
from openseek.config.load import load_config
from openseek.config.runtime import RuntimeConfig
from openseek.config.sources import SourceConfig
from openseek.corpus import parts as corpus_parts
from openseek.corpus import read_documents
from openseek.corpus import step as ingest_step
from openseek.errors import (
    ConfigError,
    DataError,
    OpenSeekError,
    StoreError,
    TransientError,
)
from openseek.pipeline.run import Pipeline
from tests.runs import ROOT, TINY

LINE = 50_000_000
DISK = 2_000_000
Json = dict[str, Any]


def rows(n: int, seed: int = 0, size: int = 200) -> bytes:
    """Lines of JSON that hardly compress."""
    draw = random.Random(seed)
    texts = (f"document {i} {draw.randbytes(size).hex()}" for i in range(n))
    return b"".join(json.dumps({"text": t}).encode() + b"\n" for t in texts)


GOOD = rows(20)
LONG = rows(2000)
NONSENSE = b"\xff" * 64


def cut_gzip() -> bytes:
    packed = gzip.compress(LONG)
    return packed[: len(packed) * 2 // 3]


def damaged_gzip() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(LONG) + packer.flush(zlib.Z_FULL_FLUSH) + NONSENSE


def cut_zstd() -> bytes:
    packed = zstandard.compress(LONG)
    return packed[: len(packed) * 2 // 3]


def damaged_zstd() -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    whole = packer.compress(LONG) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return whole + NONSENSE


def serial(fn: Callable[..., Any], shards: Sequence[Any], *, args: Sequence[Any], **_: Any) -> None:
    """Stand in for `map_shards` without Ray: errors are reported as its workers' are."""
    for shard in shards:
        try:
            fn(shard, *args)
        except Exception as error:
            task = RuntimeError("raised in a worker")
            task.cause = error  # type: ignore[attr-defined]
            raise compute._cause(task, shard) from task


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_step, "map_shards", serial)
    monkeypatch.delenv("OPENSEEK_STORE", raising=False)


def pipeline(home: Path, *paths: Path | str, store: str = "", **source: Any) -> Pipeline:
    """The tiny configuration with one source for each path."""
    fixed = {"category": "foundation", "lang": "en", "license": "MIT", **source}
    sources = tuple(
        SourceConfig.model_validate({"name": f"s{i}", "path": str(path), **fixed})
        for i, path in enumerate(paths)
    )
    runtime = RuntimeConfig(
        store=store or str(home / "store"),
        scratch=str(home / "scratch"),
        downloads=str(home / "downloads"),
        offline=True,
    )
    changes = {"sources": sources, "runtime": runtime}
    return Pipeline(load_config(TINY).model_copy(update=changes))


def run(made: Pipeline) -> Manifest:
    outcome = made.execute(made.node("ingest"), {})
    assert outcome.state == "ran"
    return outcome.manifest


def fail(made: Pipeline, kind: type[OpenSeekError], what: str) -> OpenSeekError:
    """Run into an error that says what, where and how to mend it."""
    with pytest.raises(kind, match=what) as caught:
        made.execute(made.node("ingest"), {})
    assert isinstance(caught.value, OpenSeekError)
    assert caught.value.where
    assert caught.value.mend
    return caught.value


def nothing_counts(made: Pipeline) -> bool:
    return made.store.find(made.spec(made.node("ingest"), {})) is None and not any(
        made.store.manifests()
    )


def texts(made: Pipeline, manifest: Manifest) -> list[str]:
    """Texts of all documents; every file is verified against its record."""
    files = made.store.files(manifest)
    names = [r.name for r in files.records() if r.name.endswith(".parquet")]
    return [str(row["text"]) for name in names for row in read_documents(files.local(name))]


def plain(lines: bytes) -> list[str]:
    return [json.loads(line)["text"] for line in lines.splitlines()]


@pytest.mark.parametrize(
    ("name", "data", "reason", "whole"),
    [
        ("a.jsonl.gz", cut_gzip(), "compressed stream ends early", False),
        ("a.jsonl.gz", damaged_gzip(), "compressed stream is damaged", False),
        ("a.jsonl.zst", cut_zstd(), "compressed stream ends early", False),
        ("a.jsonl.zst", damaged_zstd(), "compressed stream is damaged", False),
        ("a.jsonl", GOOD + b'{"text": "\xff\xfe"}\n', "not UTF-8", True),
        ("a.jsonl", GOOD + b'{"text": "cut sho', "not JSON", True),
        ("a.jsonl", GOOD + b'{"body": "elsewhere"}\n', "no text column", True),
    ],
    ids=["gzip cut", "gzip damaged", "zstd cut", "zstd damaged", "UTF-8", "JSON cut", "column"],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_counted(
    name: str, data: bytes, reason: str, whole: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    made = pipeline(tmp_path, tmp_path / name)
    manifest = run(made)
    assert manifest.metrics["quarantined"] == {reason: 1}
    files = made.store.files(manifest)
    (row,) = map(json.loads, files.local("quarantine/s0-00000.jsonl").open(encoding="utf-8"))
    assert row["reason"] == reason
    assert row["source"] == "s0"
    assert row["origin"].startswith(f"{name}#")
    kept, expected = texts(made, manifest), plain(GOOD if whole else LONG)
    assert kept == (expected if whole else expected[: len(kept)])
    assert len(kept) >= (20 if whole else 100)
    assert manifest.metrics["documents_out"] == len(kept)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.jsonl.gz", NONSENSE, "no document in 1 files .*compressed stream is damaged"),
        ("a.jsonl.zst", NONSENSE, "no document in 1 files .*compressed stream is damaged"),
        ("a.parquet", NONSENSE, "not a readable"),
        ("a.jsonl", b'{"\xff": 1}\n' * 20 + GOOD, "20 of 40 rows are bad .not UTF-8: 20"),
        ("a.jsonl", b'{"text": "\n' * 20 + GOOD, "20 of 40 rows are bad .not JSON: 20"),
        ("a.jsonl", b'{"body": "b"}\n' * 20, "no text column 'text'; the rows have body"),
        ("a.jsonl", b"", "no file|no document"),
        ("a.jsonl", b"\n\n", "no document in 1 files"),
        ("a.jsonl.gz", b"", "no file|no document"),
        ("a.bin", b"\x00", "no file matches"),
    ],
    ids=[
        "gzip", "zstd", "parquet", "UTF-8", "JSON", "column", "0 bytes", "blank", "0 gz", "no file",
    ],
)  # fmt: skip
def test_a_bad_source_is_an_error_and_mending_it_is_enough(
    name: str, data: bytes, what: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(data)
    made = pipeline(tmp_path, folder, files=["*.jsonl*", "*.parquet"])
    fail(made, DataError, what)
    assert not any(made.store.manifests())
    (folder / name).unlink()
    (folder / "a.jsonl").write_bytes(GOOD)
    mended = pipeline(tmp_path, folder, files=["*.jsonl*", "*.parquet"])
    assert texts(mended, run(mended)) == plain(GOOD)


def child(function: str, *args: object, wrap: Sequence[str] = ()) -> Json:
    """Call a function of this file in a process of its own."""
    call = f"json.dumps(t.{function}(*{list(map(str, args))}))"
    code = f"import json, tests.faults.test_bad_input as t; print({call})"
    done = subprocess.run(
        [*wrap, sys.executable, "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def memory(field: str) -> int:
    """Read a line of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(field)).split()[1]) * 1024


def read_long_lines(home: str, *names: str) -> Json:
    ingest_step.map_shards = serial
    folder = Path(home)
    warm = pipeline(folder / "warm", folder / "good.jsonl")
    run(warm)
    before = memory("VmRSS")
    found: Json = {"grown": {}, "quarantined": {}, "texts": {}}
    for name in names:  # the peak is the process's own and never falls: the smallest comes first
        manifest = run(made := pipeline(folder / name.replace(".", "-"), folder / name))
        found["grown"][name] = memory("VmHWM") - before
        found["quarantined"][name] = manifest.metrics["quarantined"]
        found["texts"][name] = texts(made, manifest)
    return found


def test_a_line_of_50_mb_is_set_aside_in_bounded_memory(tmp_path: Path) -> None:
    data = GOOD + b'{"text": "' + b"x" * LINE + b'"}\n' + GOOD
    (tmp_path / "good.jsonl").write_bytes(GOOD)
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data, 1))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(data, 1))
    names = ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"]
    found = child("read_long_lines", tmp_path, *names)
    for name in names:
        assert found["quarantined"][name] == {"line longer than 16000000 bytes": 1}
        assert found["texts"][name] == plain(GOOD) * 2
    assert found["grown"]["a.jsonl"] < 1.2 * LINE
    assert max(found["grown"].values()) < 2.5 * LINE  # one piece may unpack to the whole line


def fill_disk(home: str, disk: str, scratch: str) -> Json:
    """Run on a disk without enough room, free some, and run again."""
    worked: list[str] = []

    def counted(fn: Any, shards: Sequence[Any], **options: Any) -> None:
        for shard in shards:
            serial(fn, [shard], **options)
            worked.append(str(shard))

    ingest_step.map_shards = counted
    folder, room = Path(home), Path(disk)
    paths = [folder / f"{i}.jsonl" for i in range(3)]

    def make() -> Pipeline:
        made = pipeline(folder, *paths, store=f"{disk}/store")
        made.store.scratch = Path(scratch)
        return made

    ballast = room / "ballast"
    ballast.write_bytes(b"x" * (DISK * 6 // 10))
    found: Json = {"free": shutil.disk_usage(room).free}
    made = make()
    for moment in ("some", "full"):
        if moment == "full":
            left = room / "rest"
            with left.open("wb", buffering=0) as f:
                while shutil.disk_usage(room).free:
                    f.write(b"x" * 4096)
        try:
            made.execute(made.node("ingest"), {})
        except OpenSeekError as error:
            found[moment] = [type(error).__name__, error.what, error.where, error.mend]
        found[f"{moment} nothing"] = nothing_counts(made)
    found["first"], worked[:] = list(worked), []
    ballast.unlink()
    left.unlink()
    again = make()
    manifest = run(again)
    return {**found, "second": worked, "texts": texts(again, manifest)}


@pytest.mark.parametrize("scratch", ["the same disk", "another disk"])
def test_a_full_disk_says_so_and_the_same_command_goes_on_later(
    scratch: str, tmp_path: Path
) -> None:
    lines = [rows(800, seed, size=400) for seed in range(3)]
    for i, data in enumerate(lines):
        (tmp_path / f"{i}.jsonl").write_bytes(data)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={DISK} none "{disk}" && exec "$@"'
    found = child(
        "fill_disk", tmp_path, disk, (disk if scratch == "the same disk" else tmp_path) / "scratch",
        wrap=["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"],
    )  # fmt: skip
    for moment in ("some", "full"):
        kind, what, where, mend = found[moment]
        assert kind == "StoreError"
        assert "the disk is full" in what, what
        assert where == "ingest"
        assert "Free some space" in mend
        assert found[f"{moment} nothing"]
    assert found["first"]  # what was finished before is kept
    assert found["second"]
    assert found["first"] + found["second"] == ["s0-00000", "s1-00000", "s2-00000"]
    assert found["texts"] == [t for data in lines for t in plain(data)]


def fill_disk_by(home: str, disk: str) -> Json:
    """Let each library's own writer meet a full disk, inside a step and outside of one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from safetensors.torch import save_file

    made = pipeline(Path(home), Path(home) / "0.jsonl", store=f"{disk}/store")
    large, target = torch.zeros(DISK), Path(disk) / "large"
    writers: dict[str, Callable[[], object]] = {
        "safetensors": lambda: save_file({"a": large}, target),
        "torch": lambda: torch.save(large, target),
        "numpy": lambda: np.save(target, large.numpy()),
        "parquet": lambda: pq.write_table(
            pa.table({"a": np.random.default_rng(0).random(DISK)}), target
        ),
        "python": lambda: target.write_bytes(b"x" * 2 * DISK),
        "run record": lambda: made.write_run("running", facts="x" * 2 * DISK),
    }
    found: Json = {}
    for name, write in writers.items():
        try:
            with made.explained(name):
                write()
        except OpenSeekError as error:
            found[name] = [type(error).__name__, error.what, error.where, error.mend]
        target.unlink(missing_ok=True)
    return {"writers": list(writers), "found": found}


def test_a_full_disk_is_told_whoever_writes(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(GOOD)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size={DISK} none "{disk}" && exec "$@"'
    wrap = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    answer = child("fill_disk_by", tmp_path, disk, wrap=wrap)
    assert list(answer["found"]) == answer["writers"]
    for name, (kind, what, where, mend) in answer["found"].items():
        assert (kind, where) == ("StoreError", name)
        assert "the disk is full" in what, what
        assert "Free some space" in mend


class Breaking(io.BytesIO):
    """A download whose connection is reset after its first bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise ConnectionResetError("connection reset by peer")
        return super().read(100)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_connection_that_breaks_while_reading_is_tried_again(
    pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.jsonl{'' if pack is bytes else '.gz'}"
    path.write_bytes(pack(GOOD))
    made = pipeline(tmp_path, path)
    with monkeypatch.context() as patch:
        patch.setattr(corpus_parts, "open_bytes", lambda url: Breaking(Path(url).read_bytes()))
        fail(made, TransientError, "connection reset")
        assert nothing_counts(made)
    assert texts(made, run(made)) == plain(GOOD)


@pytest.fixture
def connect() -> Iterator[Callable[[], None]]:
    """Forget all connections, so that a change of the environment counts."""

    def forget() -> None:
        backend._backend.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()

    yield forget
    forget()


BROKEN = pytest.mark.parametrize(
    ("variable", "value", "store_error", "source_error", "what"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9", TransientError, TransientError, "answer"),
        ("AWS_SECRET_ACCESS_KEY", "not-it-3141", StoreError, ConfigError, "refused|denied"),
    ],
    ids=["unreachable", "wrong secret"],
)


@pytest.mark.s3
@BROKEN
@pytest.mark.parametrize("place", ["store", "source"])
def test_an_s3_server_that_is_not_there_or_says_no(
    place: str, variable: str, value: str, store_error: type[OpenSeekError],
    source_error: type[OpenSeekError], what: str, s3_env: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, connect: Callable[[], None],
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    connect()
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    fsspec.filesystem("s3").pipe(f"{s3_env}/in/a.jsonl", GOOD)
    if place == "store":
        made = pipeline(tmp_path, tmp_path / "a.jsonl", store=f"{s3_env}/store")
    else:
        made = pipeline(tmp_path, f"{s3_env}/in")
        made.step_config(made.node("ingest"))  # what is read was pinned while it was still there
    with monkeypatch.context() as patch:
        patch.setenv(variable, value)
        connect()
        made.store.backend = backend.open_backend(made.config.runtime.store)
        error = fail(made, store_error if place == "store" else source_error, what)
        assert "not-it-3141" not in str(error)
    connect()
    made.store.backend = backend.open_backend(made.config.runtime.store)
    assert nothing_counts(made)
    assert texts(made, run(made)) == plain(GOOD)
