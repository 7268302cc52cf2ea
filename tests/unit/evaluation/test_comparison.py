"""Two evaluations on the same items."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openseek.errors import DataError
from openseek.evaluation.browse import sample_items
from openseek.evaluation.comparison import compare
from openseek.evaluation.results import load_evaluation
from openseek.report.comparisons import comparison_markdown, render_comparison, write_comparison

from .made import write_evaluation

SHARES = {"hellaswag": 0.4, "piqa": 0.6, "boolq": 0.5}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    first = write_evaluation(folder / "first", SHARES, n=300, seed=0)
    second = write_evaluation(folder / "second", {**SHARES, "hellaswag": 0.7}, n=300, seed=1)
    return load_evaluation(first), load_evaluation(second)


def test_differences_are_of_the_scores_and_flips_account_for_them(pair):
    found = compare(*pair, suite="demo", resamples=2000)
    assert [r["task"] for r in found["tasks"]] == ["boolq", "hellaswag", "piqa"]
    for row in found["tasks"]:
        before, after = (e.scores[row["task"]]["value"] for e in pair)
        assert row["difference"] == pytest.approx(after - before)
        assert (row["first"], row["second"]) == (pytest.approx(before), pytest.approx(after))
        assert len(row["gained"]) - len(row["lost"]) == pytest.approx(300 * row["difference"])
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["q"] >= row["mcnemar"]
    tasks = {r["task"]: r for r in found["tasks"]}
    assert tasks["hellaswag"]["q"] < 1e-6
    assert tasks["boolq"]["q"] > 0.05
    head = found["headline"]
    assert (head["rows"], head["of"]) == (2, 12)
    both = [tasks["hellaswag"]["difference"], tasks["piqa"]["difference"]]
    assert head["difference"] == pytest.approx(sum(both) / 2)
    assert head["low"] < head["difference"] < head["high"]


def test_a_model_beside_itself_differs_in_nothing_and_the_seed_decides_the_draw(pair):
    same = compare(pair[0], pair[0], resamples=200)
    assert all(
        r["difference"] == 0 and r["p"] == r["mcnemar"] == r["q"] == 1 for r in same["tasks"]
    )
    once, again = (compare(*pair, resamples=200, seed=5) for _ in range(2))
    assert once == again
    assert compare(*pair, resamples=200, seed=6)["tasks"][0]["low"] != once["tasks"][0]["low"]


def test_paired_errors_are_smaller_where_the_models_mostly_agree(pair, tmp_path):
    folder = tmp_path / "near"
    (folder / "items").mkdir(parents=True)
    rows = pair[0].items("piqa")
    for row in rows[:6]:
        row["acc_norm"] = 1 - row["acc_norm"]
    pq.write_table(pa.Table.from_pylist(rows), folder / "items/piqa.parquet")
    score = {**pair[0].scores["piqa"], "value": sum(r["acc_norm"] for r in rows) / 300}
    (folder / "scores.json").write_text(json.dumps({"scores": [score]}))
    [row] = compare(pair[0], load_evaluation(folder), resamples=500)["tasks"]
    assert row["stderr"] < pair[0].scores["piqa"]["stderr"] / 3


def test_groups_weigh_the_same_where_the_score_is_their_mean(tmp_path):
    evaluations = []
    for name, right in (("a", 0), ("b", 1)):
        rows = [
            {"id": f"{i}", "group": "small" if i < 2 else "large", "query": "q", "gold": 0,
             "choices": ["x", "y"], "acc": right if i < 2 else 0}
            for i in range(20)
        ]  # fmt: skip
        (tmp_path / name / "items").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name / "items/mmlu.parquet")
        score = {"task": "mmlu", "metric": "acc", "value": right / 2, "stderr": 0.1, "n": 20}
        (tmp_path / name / "scores.json").write_text(json.dumps({"scores": [score]}))
        evaluations.append(load_evaluation(tmp_path / name))
    assert evaluations[1].scores["mmlu"]["value"] == 0.5
    backwards = compare(evaluations[1], evaluations[0], resamples=100)
    assert backwards["tasks"][0]["difference"] == -0.5


def test_other_items_are_an_error_that_names_task_and_item(pair, tmp_path):
    fewer = load_evaluation(write_evaluation(tmp_path / "fewer", SHARES, n=299))
    with pytest.raises(DataError, match=r"task boolq.*1 only in first.*boolq0299"):
        compare(pair[0], fewer)
    changed = write_evaluation(tmp_path / "changed", SHARES, n=300)
    rows = pair[0].items("piqa")
    rows[7]["query"] = "Another question?"
    pq.write_table(pa.Table.from_pylist(rows), changed / "items/piqa.parquet")
    with pytest.raises(DataError, match="item piqa0007 has another query"):
        compare(pair[0], load_evaluation(changed))
    assert compare(pair[0], load_evaluation(changed), tasks=["boolq"], resamples=100)["tasks"]
    with pytest.raises(DataError, match=r"not both have the items of siqa.*Both have boolq"):
        compare(*pair, tasks=["siqa"])


def test_the_sample_is_bounded_and_says_what_it_leaves_out(pair):
    found = sample_items(pair, limit=30)
    assert len(found["items"]) == 30
    assert found["left_out"] == 870
    assert {i["task"] for i in found["items"]} == set(SHARES)
    assert sum(i["disagree"] for i in found["items"]) >= 15
    assert found == sample_items(pair, limit=30)
    one = sample_items(pair[:1], limit=9)["items"][0]
    assert sum(one["models"][0]["p"]) == pytest.approx(1, abs=1e-3)
    assert not one["disagree"]


def test_the_page_shows_items_and_loads_nothing(pair, tmp_path):
    found = compare(*pair, resamples=100)
    page = render_comparison(found, sample_items(pair, limit=12))
    assert page.count('class="item"') == 12
    assert "888 left out" in page
    assert 'data-disagree="1"' in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "hellaswag" in comparison_markdown(found)
    files = write_comparison(found, sample_items(pair, limit=12), tmp_path)
    assert {p.suffix for p in files} == {".json", ".md", ".html"}
    assert json.loads((tmp_path / "comparison.json").read_text()) == found


def test_generated_answers_are_shown_and_texts_are_escaped(tmp_path):
    rows = [
        {"id": "x1", "group": "", "query": "How many <b>?", "context": "Q: <i>", "gold": 0,
         "choices": [], "logprobs": [], "output": "4 & more", "answers": ["5"], "qem": 0.0,
         "correct": False}
    ]  # fmt: skip
    (tmp_path / "items").mkdir()
    schema = pa.schema(
        [("id", pa.string()), ("group", pa.string()), ("query", pa.string()),
         ("context", pa.string()), ("gold", pa.int64()), ("choices", pa.list_(pa.string())),
         ("logprobs", pa.list_(pa.float64())), ("output", pa.string()),
         ("answers", pa.list_(pa.string())), ("qem", pa.float64()), ("correct", pa.bool_())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "items/gsm8k.parquet")
    score = {"task": "gsm8k", "metric": "qem", "value": 0.0, "stderr": None, "n": 1}
    (tmp_path / "scores.json").write_text(json.dumps({"scores": [score]}))
    evaluation = load_evaluation(tmp_path)
    found = compare(evaluation, evaluation, resamples=100)
    page = render_comparison(found, sample_items([evaluation], limit=5))
    assert "4 &amp; more" in page
    assert "<i>" not in page.split("<main>")[1].split('class="item"')[1].split("</details>")[0]
