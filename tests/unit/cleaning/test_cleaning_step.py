import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.cleaning import step
from openseek.config.cleaning import CleaningConfig
from openseek.config.runtime import RuntimeConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import DataError

PROSE = (
    "The boats that have to go down the river with the grain pass town number {}. "
    "Nobody would be surprised if half of them were late, for it rained all week. "
)


def document(text: str, n: int, source: str = "web", category: str = "foundation") -> dict:
    return make_document(
        text,
        source=source,
        category=category,
        lang="code" if category == "code" else "und",
        license="x",
        origin=str(n),
    )


@pytest.fixture
def documents(tmp_path: Path) -> FolderFiles:
    for shard in range(4):
        rows = [document(PROSE.format(i) + f"Write to a{i}@example.org!", i) for i in range(30)]
        rows += [document(f"short {i}", i, "tiny") for i in range(9)]
        rows += [document("def f():\n    return 1\n" * 5, shard, "repo", "code")]
        (tmp_path / "in").mkdir(exist_ok=True)
        write_documents(tmp_path / "in" / f"web-{shard:05d}.parquet", rows)
    return FolderFiles(tmp_path / "in")


def context(files: FolderFiles, out: Path, **runtime: Any) -> StepContext[CleaningConfig]:
    return StepContext(
        config=CleaningConfig(),
        inputs={"documents": files},
        out=FolderOutput(out),
        runtime=RuntimeConfig(**runtime),
    )


def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
    return [fn(shard, *args) for shard in shards]


def digests(folder: Path) -> dict[str, str]:
    return {
        r.name: hashlib.sha256((folder / r.name).read_bytes()).hexdigest()
        for r in FolderFiles(folder).records()
    }


def test_shards_metrics_and_rows(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "map_shards", serial)
    metrics = step.clean(context(documents, tmp_path / "out"))
    json.dumps(metrics, allow_nan=False)
    assert metrics["documents_in"] == 160
    assert metrics["documents_out"] == 124
    assert metrics["dropped"] == {"length.chars": 36}
    assert metrics["by_source"]["tiny"]["documents_out"] == 0
    assert metrics["masked"] == {"email": 120}
    assert metrics["languages"] == {"code": 4, "en": 120}
    assert len(metrics["samples"]["length.chars"]) == 5
    table = pq.read_table(tmp_path / "out" / "web-00002.parquet")
    assert table["text"][3].as_py() == PROSE.format(3) + "Write to <EMAIL>!"
    assert table["origin"].to_pylist() == [str(i) for i in range(30)] + ["2"]
    assert metrics["bytes_out"] == sum(
        len(t.encode()) for r in FolderFiles(tmp_path / "out").records()
        for t in pq.read_table(tmp_path / "out" / r.name)["text"].to_pylist()
    )  # fmt: skip


def test_a_killed_step_goes_on_where_it_was(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "map_shards", serial)
    whole = step.clean(context(documents, tmp_path / "whole"))
    worked: list[str] = []

    def killed(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        serial(fn, list(reversed(shards))[:2], args=args)
        raise KeyboardInterrupt

    def counted(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> None:
        worked.extend(shards)
        serial(fn, shards, args=args)

    monkeypatch.setattr(step, "map_shards", killed)
    with pytest.raises(KeyboardInterrupt):
        step.clean(context(documents, tmp_path / "out"))
    monkeypatch.setattr(step, "map_shards", counted)
    assert step.clean(context(documents, tmp_path / "out")) == whole
    assert worked == ["web-00000.parquet", "web-00001.parquet"]
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_batches_do_not_change_the_bytes(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "map_shards", serial)
    step.clean(context(documents, tmp_path / "a"))
    ctx = context(documents, tmp_path / "b")
    ctx.config = CleaningConfig(batch_rows=7)
    step.clean(ctx)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_document_beyond_the_limit_is_quarantined(documents, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "map_shards", serial)
    rows = [document(PROSE.format(i) * n, i) for i, n in enumerate((1, 40, 1, 60, 1))]
    write_documents(tmp_path / "in" / "web-00004.parquet", rows)
    limit = len(PROSE) * 20
    for batch_rows in (2000, 1):
        out = tmp_path / f"out{batch_rows}"
        ctx = context(FolderFiles(tmp_path / "in"), out)
        ctx.config = CleaningConfig(max_document=limit, batch_rows=batch_rows)
        metrics = step.clean(ctx)
        assert metrics["quarantined"] == {f"text longer than {limit} bytes": 2}
        assert metrics["documents_in"] == 165
        assert pq.read_table(out / "web-00004.parquet")["origin"].to_pylist() == ["0", "2", "4"]
        lines = (out / "quarantine" / "web-00004.jsonl").read_text().splitlines()
        assert [json.loads(line)["origin"] for line in lines] == ["1", "3"]


def test_a_file_that_is_no_shard_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(step, "map_shards", serial)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=r"x\.parquet"):
        step.clean(context(FolderFiles(tmp_path / "in"), tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.ray
def test_the_number_of_workers_does_not_change_the_bytes(documents, tmp_path, monkeypatch) -> None:
    from openseek import compute

    found = []
    try:
        for workers in (2, 1):  # the Ray of the first run has room for both
            out = tmp_path / f"out{workers}"
            found.append((step.clean(context(documents, out, workers=workers)), digests(out)))
    finally:
        compute.shutdown()
    monkeypatch.setattr(step, "map_shards", serial)
    alone = step.clean(context(documents, tmp_path / "alone"))
    assert found == [(alone, digests(tmp_path / "alone"))] * 2
