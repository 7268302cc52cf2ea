"""The whole flow of data steps, from sources to tokens, with 1, 2 and 5 workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from openseek import compute
from openseek.config.load import load_config
from openseek.pipeline.dag import select
from openseek.pipeline.run import Outcome, Pipeline
from tests.runs import TINY

pytestmark = [pytest.mark.slow, pytest.mark.ray]

STEPS = {
    "benchmarks", "ingest", "clean", "dedup", "lines", "substring", "score", "split",
    "decontaminate", "synthesise", "tokenizer", "tokenise",
}  # fmt: skip


def configuration(home: Path) -> Path:
    """Lay out ten sources, so that there are ten shards, and evaluation items out of one."""
    home.mkdir()
    (home / "items").mkdir()
    item = {"id": "a", "query": "Return the name of the class of an object as a string", "gold": 0}
    row = json.dumps({**item, "choices": [" and nothing else at all.", " twice."]})
    (home / "items" / "openbookqa.jsonl").write_text(row + "\n")
    docs = {"extract": "docstrings", "pack_chars": 1500, "min_chars": 200}
    shared = {"installed": ["stdlib"], "license": "PSF-2.0", "max_bytes": "150kB"}
    sources = [
        {"name": f"docs-{c}", "files": [f"{c}*.py"], "text": docs, "lang": "en",
         "category": "math" if c == "s" else "foundation", **shared}
        for c in "acdhpst"
    ]  # fmt: skip
    sources += [
        {"name": f"code-{c}", "files": [f"{c}*.py"], "lang": "code", "category": "code", **shared}
        for c in "cit"
    ]
    path = home / "config.yaml"
    written = {
        "extends": str(TINY), "sources": sources, "lines": {"enabled": True},
        "substring": {"enabled": True}, "benchmarks": {"folder": str(home / "items")},
        "dedup": {"partitions": 3, "write_index": True},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(written))
    return path


def run_data_steps(home: Path, workers: int) -> dict[str, Outcome]:
    """Run every step up to the tokens in a store of its own, on a Ray of so many CPUs."""
    where = {"store": home / "store", "scratch": home / "scratch", "downloads": home / "downloads"}
    overrides = [f"runtime.{k}={v}" for k, v in where.items()]
    config = load_config(configuration(home), [*overrides, f"runtime.workers={workers}"])
    pipeline = Pipeline(config)
    made: dict[str, Outcome] = {}
    try:
        for node in select(pipeline.nodes, ["tokenise"]):
            upstream = {i.node: made[i.node].ref for i in node.inputs.values()}
            made[node.name] = pipeline.execute(node, upstream)
    finally:
        compute.shutdown()
    return made


def content(made: dict[str, Outcome]) -> dict[str, Any]:
    """SHA-256 of every file of every artifact, and all metrics."""
    return {
        name: ({f.name: f.sha256 for f in o.manifest.files}, o.manifest.metrics)
        for name, o in made.items()
    }


def test_the_number_of_workers_changes_no_byte_of_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENSEEK_STORE", raising=False)
    alone = run_data_steps(tmp_path / "1", 1)
    assert set(alone) == STEPS
    assert len([f for f in alone["clean"].manifest.files if f.name.endswith(".parquet")]) == 10
    assert alone["dedup"].manifest.metrics["dropped"]
    for workers in (2, 5):
        several = run_data_steps(tmp_path / str(workers), workers)
        assert {o.state for o in several.values()} == {"ran"}
        assert content(several) == content(alone)
