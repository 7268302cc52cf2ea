"""The plan: what a run would do, found without doing anything."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pipeline_small import calls, config, execute, listing

from openseek.errors import ConfigError
from openseek.pipeline import plan
from openseek.pipeline.run import Pipeline

Json = dict[str, Any]


def make_plan(*args: Any) -> Json:
    """Make the plan where nobody can be reached and nothing can be started."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a plan fetches nothing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(subprocess, "Popen", refuse)
        return plan.make_plan(*args)


def rows(made: Json) -> dict[str, Json]:
    return {step["name"]: step for step in made["steps"]}


def states(made: Json) -> dict[str, tuple[str, str]]:
    return {name: (row["state"], row["reason"]) for name, row in rows(made).items()}


def test_on_an_empty_store_all_is_to_do_and_nothing_is_written(home: Path) -> None:
    found = make_plan(config(home))
    assert {state for state, _ in states(found).values()} == {"to do"}
    assert states(found)["ingest"] == ("to do", "not done yet")
    assert states(found)["clean"] == ("to do", "after ingest")
    assert len(rows(found)["ingest"]["key"]) == 64
    assert rows(found)["clean"]["key"] == ""
    assert not (home / "store").exists()
    assert not (home / "scratch").exists()


def test_training_has_a_price(home: Path) -> None:
    found = make_plan(config(home, "stages.foundation.tokens=48k"))
    trains = [r for r in rows(found).values() if r["kind"] == "train"]
    assert [r["tokens"] for r in trains] == [48_000, 24_000, 24_000]
    assert found["tokens"] == 96_000
    first, second, _ = trains
    assert first["flops"] == pytest.approx(2 * second["flops"])
    assert all(r["seconds"] > 0 and r["basis"] == "calibrated" for r in trains)


def test_a_first_run_is_estimated_from_the_size_of_its_sources(home: Path) -> None:
    made = config(home)
    few = rows(make_plan(made))
    assert {r["basis"] for r in few.values()} == {"typical", "calibrated"}
    assert all(r["seconds"] > 0 and r["bytes"] > 0 for r in few.values())
    text = home / "text" / "a.txt"
    text.write_bytes(text.read_bytes() * 4000)
    many = rows(make_plan(made))
    assert many["clean"]["seconds"] > few["clean"]["seconds"]
    assert many["evaluate-foundation"]["seconds"] == few["evaluate-foundation"]["seconds"]


def test_what_is_not_on_this_machine_is_not_fetched(home: Path) -> None:
    source = "{name: w, pypi: openseek-none==1, category: code, lang: en, license: MIT}"
    found = make_plan(
        config(home, f"sources=[{source}]", "benchmarks.folder=''", "benchmarks.hub=true")
    )
    assert states(found)["ingest"] == ("to do", "not done yet")


def test_finished_steps_are_hits_with_the_keys_of_the_run(home: Path) -> None:
    made = execute(Pipeline(config(home)), "benchmarks", "ingest", "clean")
    calls.clear()
    before = listing(home / "store")
    found = make_plan(config(home))
    for name, outcome in made.items():
        row = rows(found)[name]
        assert (row["state"], row["key"]) == ("hit", outcome.ref.key)
        assert row["bytes"] == outcome.manifest.size
    assert states(found)["dedup"] == ("to do", "not done yet")
    assert states(found)["score"] == ("to do", "after dedup")
    assert listing(home / "store") == before
    assert calls == []


def test_a_change_makes_what_the_run_had_stale(home: Path) -> None:
    execute(Pipeline(config(home)), "benchmarks", "ingest", "clean", "dedup")
    found = states(make_plan(config(home, "cleaning.preset=cci4")))
    assert found["ingest"] == ("hit", "")
    assert found["clean"] == ("stale", "its params or inputs changed")
    assert found["dedup"] == ("stale", "after clean")
    assert found["score"] == ("to do", "after dedup")


def test_another_run_of_the_same_content_hits_too(home: Path) -> None:
    execute(Pipeline(config(home)), "benchmarks", "ingest")
    found = states(make_plan(config(home, "name=other")))
    assert found["benchmarks"] == found["ingest"] == ("hit", "")


def test_lost_files_are_no_hit(home: Path) -> None:
    made = execute(Pipeline(config(home)), "benchmarks", "ingest")
    shutil.rmtree(home / "store" / made["ingest"].manifest.folder / "attempts")
    found = states(make_plan(config(home)))
    assert found["ingest"] == ("stale", "its files are gone or damaged")
    assert found["benchmarks"] == ("hit", "")


def test_force_shows_and_a_misspelt_one_is_an_error(home: Path) -> None:
    execute(Pipeline(config(home)), "benchmarks", "ingest", "clean")
    found = states(make_plan(config(home), ["ingest"]))
    assert found["ingest"] == ("stale", "forced")
    assert found["clean"] == ("stale", "after ingest")
    with pytest.raises(ConfigError, match="no step 'inges'"):
        make_plan(config(home), ["inges"])
