"""`openseek leaderboard` and `openseek compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_shell import Shell

SCORE = {"task": "piqa", "metric": "acc_norm", "chance": 0.5, "n": 100, "stderr": 0.05}


@pytest.fixture
def folder(home: Path) -> Path:
    path = home / "first"
    path.mkdir()
    scores = [{**SCORE, "value": 0.6}]
    (path / "scores.json").write_text(json.dumps({"scores": scores, "headline": {"suite": "demo"}}))
    return path


def test_leaderboard_prints_and_writes_all_forms(openseek: Shell, home: Path, folder: Path) -> None:
    done = openseek("leaderboard", f"mine={folder}", "--out", "board", "--json")
    assert done.code == 0, done.err
    board = done.json()
    assert board["models"][0]["name"] == "mine"
    assert board["models"][0]["rows"]["PIQA"]["value"] == 0.6
    assert {p.suffix for p in (home / "board").iterdir()} == {
        ".json", ".md", ".tex", ".csv", ".html",
    }  # fmt: skip
    assert "60.00 ± 5.00" in openseek("leaderboard", folder).out


def test_leaderboard_of_what_is_none(openseek: Shell, home: Path, folder: Path) -> None:
    missing = openseek("leaderboard", "nowhere", "--json")
    assert (missing.code, missing.json()["kind"]) == (1, "DataError")
    unknown = openseek("leaderboard", folder, "--suite", "best-12")
    assert unknown.code == 2
    assert "openseek-12" in unknown.err


def test_compare_prints_and_writes_a_page(openseek: Shell, home: Path) -> None:
    for name, right in (("first", 0), ("second", 1)):
        rows = [
            {"id": str(i), "group": "", "query": f"q{i}", "gold": 0, "choices": ["a", "b"],
             "logprobs": [-1.0, -2.0], "bytes": [1, 1], "picked": 0, "acc_norm": right}
            for i in range(100)
        ]  # fmt: skip
        (home / name / "items").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), home / name / "items/piqa.parquet")
        scores = [{**SCORE, "value": float(right)}]
        (home / name / "scores.json").write_text(json.dumps({"scores": scores}))
    done = openseek("compare", "first", "second", "--out", "page", "--resamples", "200", "--json")
    assert done.code == 0, done.err
    assert done.json()["tasks"][0]["difference"] == 1.0
    assert (home / "page/comparison.html").is_file()
    assert "+100.00 †" in openseek("compare", "first", "second", "--resamples", "200").out
