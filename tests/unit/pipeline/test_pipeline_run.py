"""One node at a time against a real store: found, run, or failed with nothing left behind."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from pipeline_small import calls, config, execute

from openseek.artifacts import Store
from openseek.errors import DataError, OpenSeekError, StoreError, TransientError
from openseek.pipeline.run import Pipeline, Ref, load_run
from openseek.pipeline.summary import summarise


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    calls.clear()


def manifests(home: Path) -> list[Path]:
    return list((home / "store").rglob("_MANIFEST.json"))


def test_what_is_finished_is_found_by_another_process(home: Path) -> None:
    first = execute(Pipeline(config(home)), "ingest", "clean")
    second = execute(Pipeline(config(home, "name=other")), "ingest", "clean")
    assert [o.state for o in first.values()] == ["ran", "ran"]
    assert [o.state for o in second.values()] == ["cached", "cached"]
    assert calls == ["write", "write"]
    assert {n: o.ref for n, o in first.items()} == {n: o.ref for n, o in second.items()}


def test_lookup_finds_without_running(home: Path) -> None:
    pipeline = Pipeline(config(home))
    assert pipeline.lookup(pipeline.node("ingest"), {}) is None
    made = execute(pipeline, "ingest")["ingest"]
    found = pipeline.lookup(pipeline.node("ingest"), {})
    assert found is not None
    assert (found.state, found.ref) == ("cached", made.ref)


def test_force_runs_again_and_the_same_content_leaves_the_rest_cached(home: Path) -> None:
    execute(Pipeline(config(home)), "ingest", "clean")
    again = execute(Pipeline(config(home), {"ingest": "now"}), "ingest", "clean")
    assert [o.state for o in again.values()] == ["ran", "cached"]


def test_the_manifest_of_a_faster_process_is_adopted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, other = Pipeline(config(home)), Pipeline(config(home, "name=other"))
    attempt = Store.attempt

    def slow(self: Store, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(Store, "attempt", attempt)
        execute(other, "ingest")  # finishes between our look and our lease
        return attempt(self, *args, **kwargs)

    monkeypatch.setattr(Store, "attempt", slow)
    outcome = execute(pipeline, "ingest")["ingest"]
    assert outcome.state == "cached"
    assert calls == ["write"]
    assert len(manifests(home)) == 1


def test_a_node_sees_only_the_files_under_its_prefix(home: Path) -> None:
    pipeline = Pipeline(config(home))
    refs: dict[str, Ref] = {}
    names = ("benchmarks", "ingest", "clean", "dedup", "score", "split", "decontaminate")
    made = execute(pipeline, *names, refs=refs)
    seen = pipeline.files(made["decontaminate"].ref).local("train/out.txt").read_text()
    inputs = {"documents": ["out.txt"], "heldout": [], "benchmarks": ["train/out.txt"]}
    assert seen == repr(inputs)


def test_progress_and_references(home: Path) -> None:
    told: list[tuple[Any, ...]] = []
    pipeline = Pipeline(config(home), progress=lambda *args: told.append(args))
    ref = execute(pipeline, "ingest")["ingest"].ref
    assert told == [("ingest", 1, 1, "shards", {"words": 5})]
    written = pipeline.store.read_ref("tiny", "ingest")
    assert written is not None
    assert ref.to_json().items() <= written.items()
    assert written["state"] == "ran"


def test_provenance_has_facts_and_no_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-stays-here")
    monkeypatch.setenv("OPENSEEK_TEST_MARK", "mark-of-the-environment")
    pipeline = Pipeline(config(home), provenance={"flow_run": "f-1"})
    provenance = execute(pipeline, "ingest")["ingest"].manifest.provenance
    assert provenance["flow_run"] == "f-1"
    assert provenance["node"] == "ingest"
    assert provenance["seconds"] >= 0
    assert {"packages", "python", "host", "cores", "git_revision"} <= provenance.keys()
    pipeline.write_run("done")
    for path in (home / "store").rglob("*.json"):
        text = path.read_text()
        assert "a-secret-that-stays-here" not in text
        assert "mark-of-the-environment" not in text


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("bad_data", DataError, "a.jsonl: row 7 has no text. Mend the row."),
        ("full_disk", StoreError, "ingest: the disk is full .*shard.parquet.*openseek gc"),
        ("forbidden", StoreError, "ingest: no right to read or write: locked"),
        ("unreachable", TransientError, "ingest: ConnectionRefusedError"),
        ("defect", ValueError, "a defect of the step"),
    ],
)
def test_a_failed_step_leaves_no_manifest_and_can_be_done_again(
    home: Path, function: str, kind: type[Exception], message: str
) -> None:
    pipeline = Pipeline(config(home))
    with pytest.raises(kind, match=message):
        execute(pipeline, "ingest", function=function)
    assert manifests(home) == []
    assert pipeline.store.read_ref("tiny", "ingest") is None
    assert list((home / "scratch" / "attempts").iterdir()) == []
    assert execute(pipeline, "ingest")["ingest"].state == "ran"


def test_a_disk_that_fills_up_when_the_record_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "_MANIFEST.json")

    pipeline = Pipeline(config(home))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", full)
        with pytest.raises(StoreError, match="the disk is full"):
            execute(pipeline, "ingest")
    assert manifests(home) == []
    assert execute(pipeline, "ingest")["ingest"].state == "ran"


def test_errors_are_ours_when_the_step_raises_them(home: Path) -> None:
    with pytest.raises(OpenSeekError) as caught:
        execute(Pipeline(config(home)), "ingest", function="full_disk")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_run_is_recorded_and_an_unknown_one_names_the_known(home: Path) -> None:
    pipeline = Pipeline(config(home))
    pipeline.write_run("done", summary={"state": "done"})
    body = load_run(pipeline.store, "tiny")
    assert body["state"] == "done"
    assert body["config"]["name"] == "tiny"
    assert body["nodes"][0] == "benchmarks"
    with pytest.raises(StoreError, match=r"no run 'tinny'. Runs in this store: tiny"):
        load_run(pipeline.store, "tinny")


def test_the_summary_counts_what_ran(home: Path) -> None:
    pipeline = Pipeline(config(home))
    outcomes = [*execute(pipeline, "ingest").values(), *execute(pipeline, "ingest").values()]
    summary = summarise(pipeline, outcomes)
    assert [s["state"] for s in summary["steps"]] == ["ran", "cached"]
    assert summary["steps"][0]["key"] == outcomes[0].ref.key
    assert (summary["model"], summary["report"]) == ("", "")
