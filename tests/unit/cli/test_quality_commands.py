"""Quality on plain folders: label, train, score, decontaminate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from openseek import compute
from openseek.cli.main import app
from openseek.corpus.shards import make_document, write_documents

GOOD = (
    "A cache keeps recent results close by. Because memory is slow, for example, a loop over a "
    "small table runs faster when the table fits; therefore order matters in number {n}. "
)
BAD = "item {n}\nbuy now\n" * 20


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def serial(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
        return [fn(shard, *args) for shard in shards]

    for module in ("quality.step", "quality.decontamination_step", "synthesis.labelling"):
        monkeypatch.setattr(f"openseek.{module}.map_shards", serial)
    monkeypatch.setattr(compute, "shutdown", lambda: None)
    monkeypatch.chdir(tmp_path)
    rows = [
        make_document(
            (GOOD if n % 2 else BAD).format(n=n) * (1 + n % 3), source="web",
            category="foundation", lang="en", license="MIT", origin=str(n),
        )
        for n in range(300)
    ]  # fmt: skip
    (tmp_path / "in").mkdir()
    write_documents(tmp_path / "in/web-00000.parquet", rows)
    return tmp_path / "in"


def invoke(*args: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_from_grades_to_scores(documents: Path) -> None:
    labels = invoke("data", "label", "in", "labels", "--set", "documents=600")
    assert (labels["teacher"], labels["labels"]) == ("heuristic", 300)
    trained = invoke("data", "train-classifier", "labels", "model", "--set", "bucket_bits=12")
    assert trained["agreement"]["all"]["f1"] > 0.9
    scorers = "scorers=[{kind: linear, name: edu, model: model}]"
    scored = invoke("data", "score", "in", "scored", "--set", scorers)
    assert scored["documents_in"] == 300
    rows = pq.read_table("scored/web-00000.parquet").to_pylist()
    good = [r["score"] for r in rows if r["text"].startswith("A cache")]
    bad = [r["score"] for r in rows if r["text"].startswith("item")]
    assert min(good) > max(bad)


@pytest.mark.slow
def test_from_a_column_of_names_to_domains(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    rows = pq.read_table("in/web-00000.parquet").to_pylist()
    lines = [
        json.dumps({"body": r["text"], "topic": "tech" if "cache" in r["text"] else "shop"})
        for r in rows
    ]
    (tmp_path / "named/rows.jsonl").write_text("\n".join(lines))
    told = invoke("data", "train-domains", "named", "topics", "--label", "topic", "--text", "body",
                  "--set", "bucket_bits=12")  # fmt: skip
    assert told["labels"] == ["shop", "tech"]
    assert told["agreement"]["macro_f1"] > 0.9
    scored = invoke("data", "score", "in", "scored", "--set", "domains.classifier=topics")
    assert set(scored["domains"]["en"]) <= {"shop", "tech", "general"}


def test_decontamination_takes_a_folder_of_jsonl(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    item = {"question": GOOD.format(n=17), "answer": "yes"}
    (tmp_path / "bench/quiz.jsonl").write_text(json.dumps(item) + "\n")
    told = invoke("data", "decontaminate", "in", "clean", "--against", "bench",
                  "--set", "min_item_share=1")  # fmt: skip
    assert told["dropped"] == {}
    told = invoke("data", "decontaminate", "in", "clean2", "--against", "bench")
    assert told["documents_by_task"] == {"quiz": told["dropped"]["benchmark"]}
    assert told["documents_out"] == 150


def failure(*args: str) -> str:
    done = CliRunner().invoke(app, list(args))
    assert done.exit_code == 1
    return str(done.exception)


def test_inputs_without_anything_to_work_on_are_errors(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in failure(
        "data", "decontaminate", "in", "a", "--against", "empty"
    )
    assert "no file of labels" in failure("data", "train-classifier", "empty", "b")
    told = failure("data", "train-domains", "in", "c", "--label", "meta.domain")
    assert "0 labels" in told
    assert "left out: no_label 300" in told
    assert "lower least_rows" in told
    told = failure("data", "label", "in", "d", "--set", "languages=[zh]")
    assert "no document in zh of category foundation" in told


def test_labels_of_a_folder_of_jsonl(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "openseek.corpus.step.map_shards", lambda fn, s, *, args=(), **_: [fn(x, *args) for x in s]
    )
    (tmp_path / "raw").mkdir()
    lines = [json.dumps({"body": GOOD.format(n=n)}) for n in range(3)]
    (tmp_path / "raw/a.jsonl").write_text("\n".join(lines))
    told = invoke("data", "label", "raw", "out", "--text", "body", "--set", "prompts=[domain]")
    assert (told["documents"], told["labels"]) == (3, 3)


def test_the_kind_of_a_scorer_follows_from_its_model(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("openseek.quality.step.score", lambda ctx: seen.append(ctx.config) or {})
    (tmp_path / "edu").mkdir()
    (tmp_path / "edu/classifier.json").write_text("{}")
    for model in ("edu", "model.ftz", "org/name"):
        invoke("data", "score", "in", f"out-{len(seen)}", "--model", model)
    assert [[s.kind for s in c.scorers] for c in seen] == [
        ["heuristic", "linear"], ["heuristic", "fasttext"], ["heuristic", "transformer"],
    ]  # fmt: skip
    for nowhere in ("nowhere", "./no/where", "/no/where", "/nowhere"):
        told = CliRunner().invoke(app, ["data", "score", "in", "x", "--model", nowhere]).exception
        assert "no such folder, and no hub id" in str(told)
