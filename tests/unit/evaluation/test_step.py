"""The step and `evaluate_model`, with real worker processes."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from openseek.config.evaluation import ClozeConfig, EvaluationConfig
from openseek.errors import PermanentError
from openseek.evaluation import evaluate_model
from openseek.evaluation.pool import run_units

from .test_benchmarks import fetch

CONFIG = EvaluationConfig(
    max_samples=6, cloze=ClozeConfig(items=5, context_tokens=16, choice_tokens=8), processes=2
)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, model, tokenizer, heldout, downloads):
    folder = tmp_path_factory.mktemp("evaluated")
    fetch(folder / "sets", downloads, tasks=("piqa", "boolq", "mmlu", "siqa"), max_samples=0)
    out = folder / "out"
    metrics = evaluate_model(
        model, out, tokenizer=tokenizer, heldout=heldout, benchmarks=folder / "sets",
        config=CONFIG.model_copy(update={"cache": str(folder / "samples")}), seed=7,
    )  # fmt: skip
    return folder, metrics


def test_scores_every_task_and_names_what_is_missing(evaluated):
    folder, metrics = evaluated
    scores = {s["task"]: s for s in metrics["scores"]}
    cloze = {"cloze_foundation_en", "cloze_foundation_zh", "cloze_code", "cloze_math"}
    assert set(scores) == {"piqa", "boolq", "mmlu"} | cloze
    assert scores["boolq"]["metric"] == "acc"
    assert scores["piqa"]["n"] == 6
    assert scores["piqa"]["chance"] == 0.5
    assert scores["cloze_code"]["chance"] == 0.25
    assert set(metrics["bpb"]) == {"foundation", "code", "math", "all"}
    assert all(value > 1 for value in metrics["bpb"].values())
    assert set(metrics["bpb_by_lang"]) == {"code", "en", "zh-Hans"}
    assert "siqa" in metrics["missing"]
    assert list(metrics["headline"]["rows"]) == ["PIQA", "MMLU"]
    assert "TriviaQA" in metrics["headline"]["missing"]
    assert not metrics["headline"]["complete"]
    items = pq.read_table(folder / "out/items/piqa.parquet").to_pylist()
    assert len(items) == 6
    for item in items:
        assert item["correct"] == (item["picked"] == item["gold"])
    assert sum(i["correct"] for i in items) / 6 == pytest.approx(scores["piqa"]["value"])


def test_the_file_has_no_times_and_equals_the_metrics(evaluated):
    folder, metrics = evaluated
    written = json.loads((folder / "out/scores.json").read_text())
    assert written == {k: v for k, v in metrics.items() if k not in ("seconds", "samples")}


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    evaluated, tmp_path, model, tokenizer, heldout
):
    folder, metrics = evaluated
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    for lost in ("_shards/bpb-math.json", "documents/math.parquet", "scores.json"):
        (out / lost).unlink()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet")}
    config = CONFIG.model_copy(update={"processes": 1, "cache": str(tmp_path / "samples")})
    again = evaluate_model(
        model, out, tokenizer=tokenizer, heldout=heldout, benchmarks=folder / "sets",
        config=config, seed=7,
    )  # fmt: skip
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    for name in ("scores.json", "documents/math.parquet"):
        assert (out / name).read_bytes() == (folder / "out" / name).read_bytes()
    assert again["scores"] == metrics["scores"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"suite": "openseek-12"}, r"lacks HellaSwag \(hellaswag\)"),
        ({"tasks": ("siqa",)}, "siqa: "),
        ({"tasks": ("hellaswag",)}, "hellaswag: not fetched"),
    ],
)
def test_a_task_without_data_is_an_error_never_a_zero(
    evaluated, tmp_path, model, tokenizer, fields, said
):
    folder, _ = evaluated
    with pytest.raises(PermanentError, match=said):
        evaluate_model(
            model, tmp_path, tokenizer=tokenizer, benchmarks=folder / "sets",
            config=EvaluationConfig(**fields, cache="none"),
        )  # fmt: skip


def test_a_worker_that_cannot_start_says_why(tmp_path, tokenizer, heldout):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PermanentError, match=r"model\.safetensors"):
        evaluate_model(
            tmp_path, tmp_path / "out", tokenizer=tokenizer, heldout=heldout,
            config=EvaluationConfig(processes=1, cache="none"),
        )  # fmt: skip


def test_no_units_start_no_process(tmp_path):
    assert list(run_units([], {}, tmp_path, processes=2, timeout_s=1)) == []
