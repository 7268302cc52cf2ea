"""One command from text to model and report; the second time everything is cached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openseek.artifacts import Manifest, Store
from tests.runs import Bench, Finished, digests, states

pytestmark = [pytest.mark.slow, pytest.mark.flow, pytest.mark.ray]


@pytest.fixture
def finished(finished_run: Finished) -> tuple[Bench, dict[str, Any]]:
    return finished_run.bench, finished_run.summary


def manifest_of(bench: Bench, node: str) -> tuple[Store, Manifest]:
    store = Store(bench.store, bench.home / "scratch")
    ref = store.read_ref("tiny", node)
    assert ref is not None
    path = f"steps/{ref['step']}/{ref['key']}/_MANIFEST.json"
    return store, Manifest.from_json(store.backend.read(path)[0], path)


def test_it_ends_with_model_scores_and_report(finished: tuple[Bench, dict[str, Any]]) -> None:
    _, summary = finished
    assert set(states(summary).values()) == {"ran"}
    assert list(summary["bpb"]) == ["foundation", "specialization", "integration"]
    tasks = {r["task"] for r in summary["scores"]["integration"]}
    assert {"openbookqa", "arc_easy"} < tasks
    assert any(t.startswith("cloze_") for t in tasks)
    assert summary["peak_rss_bytes"] < 6e9
    page = Path(summary["report"]).read_text()
    assert "</html>" in page
    assert 'src="http' not in page


def test_training_learns_and_carries_over(finished: tuple[Bench, dict[str, Any]]) -> None:
    bench, summary = finished
    losses = [manifest_of(bench, f"train-{s}")[1].metrics for s in summary["bpb"]]
    assert losses[0]["loss_last"] < losses[0]["loss_first"] - 0.3
    assert abs(losses[1]["loss_first"] - losses[0]["loss_last"]) < 1.0  # not from scratch again
    totals = [v["all"] for v in summary["bpb"].values()]
    assert totals == sorted(totals, reverse=True)


def test_exported_model_loads_in_transformers(finished: tuple[Bench, dict[str, Any]]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bench, summary = finished
    model = AutoModelForCausalLM.from_pretrained(summary["model"])
    tokenizer = AutoTokenizer.from_pretrained(summary["model"])
    with torch.no_grad():
        logits = model(**tokenizer("def read(path):", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    assert manifest_of(bench, "export")[1].metrics["max_abs_logit_diff"] < 1e-4


def test_every_document_has_provenance_and_licence(finished: tuple[Bench, dict[str, Any]]) -> None:
    import pyarrow.parquet as pq

    bench, _ = finished
    for node in ("ingest", "synthesise"):
        store, manifest = manifest_of(bench, node)
        for record in manifest.files:
            if record.name.endswith(".parquet"):
                rows = pq.read_table(store.files(manifest).local(record.name)).to_pylist()
                assert all(r["origin"] and r["license"] for r in rows)
                if node == "synthesise":
                    lineage = [json.loads(r["meta"]) for r in rows]
                    assert all(m["teacher"] == "extractive" for m in lineage)


def test_again_computes_nothing_even_without_prefects_database(
    finished: tuple[Bench, dict[str, Any]],
) -> None:
    bench, summary = finished
    fresh = Bench(bench.home, bench.store, {"PREFECT_HOME": str(bench.home / "another-home")})
    again = fresh.run()
    assert set(states(again).values()) == {"cached"}
    assert digests(again) == digests(summary)


def test_plan_names_exactly_what_a_change_reruns(finished: tuple[Bench, dict[str, Any]]) -> None:
    bench, _ = finished
    assert {s["state"] for s in bench.run(name="plan")["steps"]} == {"hit"}
    change = ("--set", "stages.integration.schedule.lr_peak=1e-3")
    planned = {s["name"]: s["state"] for s in bench.run(*change, name="plan")["steps"]}
    again = bench.run(*change)
    stale = {n for n, state in planned.items() if state == "stale"}
    assert stale == {"train-integration", "evaluate-integration", "export", "report"}
    assert {n for n, state in states(again).items() if state == "ran"} == stale


def test_force_redoes_a_step_and_equal_content_keeps_the_rest(
    finished: tuple[Bench, dict[str, Any]],
) -> None:
    bench, summary = finished
    again = bench.run("--force", "clean")
    assert {n for n, state in states(again).items() if state == "ran"} == {"clean"}
    assert digests(again) == digests(summary)


def test_asked_for_failure_says_how_to_go_on(finished: tuple[Bench, dict[str, Any]]) -> None:
    bench, summary = finished
    change = ("--set", "seed=18", "--name", "drill")
    failed = bench.run(*change, "--fail-at", "clean", fails=True)
    assert "Retry" in failed["error"]
    store = Store(bench.store, bench.home / "scratch")
    assert store.read_ref("drill", "_run")["state"] == "failed"
    assert store.read_ref("drill", "ingest") is not None
    assert summary["state"] == "done"
