"""Checkpoints within a stage are evaluated beside the training, and change nothing about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openseek.artifacts import Store
from tests.runs import Bench

pytestmark = [pytest.mark.slow, pytest.mark.ray]
EVERY = ("--set", "evaluation.every_checkpoints=2")


def test_every_second_checkpoint_is_on_the_curves(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path / "run")
    plain = bench.run()
    followed = bench.run(*EVERY, "--force", "train-foundation", "--name", "followed")
    store = Store(bench.store, tmp_path / "scratch")
    refs = [store.read_ref("followed", f"checkpoint-foundation-{s}") for s in (8, 16)]
    assert all(refs)
    assert store.read_ref("followed", "checkpoint-foundation-4") is None
    digests = [
        next(s["content_digest"] for s in run["steps"] if s["name"] == "train-foundation")
        for run in (plain, followed)
    ]
    assert digests[0] == digests[1]  # training is what it was
    record = json.loads((Path(followed["report"]).parent / "report.json").read_text())
    train = next(s for s in record["steps"] if s["name"] == "train-foundation")
    assert [e["step"] for e in train["metrics"]["evaluated"]] == [8, 16]
    assert train["metrics"]["evaluated"][0]["metrics"]["bpb"]["all"] > 0
    again = bench.run(*EVERY, "--name", "followed")
    # Without --force the stage is the plain run's again, whose checkpoints nobody followed.
    assert [s["name"] for s in again["steps"] if s["state"] != "cached"] == ["report"]
