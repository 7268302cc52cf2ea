"""The leaderboard: its figures, its published rows, its files."""

import csv
import io
import json
import math
import re

import pytest

from openseek.errors import DataError
from openseek.evaluation import leaderboard
from openseek.evaluation.board import build_board, published_entry
from openseek.evaluation.board_text import FORMATS, board_csv, board_latex, board_markdown
from openseek.evaluation.contamination import read_flagged
from openseek.evaluation.results import load_evaluation
from openseek.report.boards import render_board

from .made import all_tasks, write_evaluation


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    shares = {t: 0.3 + 0.02 * i for i, t in enumerate(all_tasks())}
    return write_evaluation(folder / "a_model", shares, suite="openseek-12")


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partial")
    return write_evaluation(folder / "b", {"hellaswag": 0.4, "arc_easy": 0.5, "boolq": 0.6})


def test_a_row_says_what_it_is_worth(full):
    evaluation = load_evaluation(full)
    [model] = build_board([evaluation])["models"]
    row = model["rows"]["HellaSwag"]
    p = evaluation.scores["hellaswag"]["value"]
    assert row["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / 199))
    assert row["low"] < p < row["high"]
    assert row["detectable"] == pytest.approx(3.96 * row["stderr"], rel=1e-3)
    assert (row["n"], row["chance"], row["metric"]) == (200, 0.25, "acc_norm")
    arc = model["rows"]["ARC"]
    parts = [evaluation.scores[t] for t in ("arc_easy", "arc_challenge")]
    assert arc["stderr"] == pytest.approx(math.hypot(*(s["stderr"] for s in parts)) / 2)
    assert arc["n"] == 400
    head = model["headline"]
    assert head["value"] == pytest.approx(evaluation.metrics["headline"]["value"])
    errors = [r["stderr"] for r in model["rows"].values()]
    assert head["stderr"] == pytest.approx(math.hypot(*errors) / 12)
    assert head["complete"]
    assert head["high"] - head["low"] == pytest.approx(2 * 1.96 * head["stderr"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("default training", 30.75),
        ("curriculum, first stage", 34.48),
        ("OpenSeek-Small-v1, measured by jouw", 36.60),
        ("jouw", 37.31),
    ],
)
def test_published_headlines_are_the_means_of_their_rows_on_the_board(name, mean):
    raw = next(p for p in leaderboard.published() if p["name"] == name)
    entry = published_entry(raw)
    rows = {row: (cell["value"], cell["stderr"]) for row, cell in entry["rows"].items()}
    found = leaderboard.headline(rows)
    assert round(100 * found["value"], 2) == mean
    assert found["value"] == pytest.approx(entry["mean"], abs=6e-5)
    assert found["stderr"] == pytest.approx(entry["stderr"])
    assert 0.002 < entry["stderr"] < 0.004


def test_every_published_score_has_a_source_and_the_base_is_there():
    entries = {p["name"]: p for p in leaderboard.published()}
    assert all(p["source"] and p["about"] for p in entries.values())
    assert entries["OpenSeek-Small-v1"]["mean"] == 36.57


def test_a_difference_to_a_published_score_is_over_common_rows_only(full, partial):
    board = build_board([load_evaluation(full), load_evaluation(partial)], suite="openseek-12")
    found = {(a["model"], a["published"]): a for a in board["against"]}
    base = found["a_model", "OpenSeek-Small-v1"]
    head = board["models"][0]["headline"]
    assert base["difference"] == pytest.approx(head["value"] - 0.3657)
    assert ("b", "OpenSeek-Small-v1") not in found  # its rows are not known, b has one of twelve
    one = found["b", "default training"]
    value = board["models"][1]["rows"]["HellaSwag"]["value"]
    assert (one["rows"], one["of"]) == (1, 12)
    assert one["difference"] == pytest.approx(value - 0.3527)
    assert list(board["models"][1]["others"]) == ["arc_easy", "boolq"]
    assert "ARC" in board["models"][1]["missing"]


def test_clean_and_flagged_items_are_scored_apart(full, tmp_path):
    evaluation = load_evaluation(full)
    hits = ["piqa0000", "piqa0001", "arc_easy0003"]
    lines = [{"task": t[:-4], "item": t, "id": "d"} for t in (*hits, hits[0])]
    (tmp_path / "contamination.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    flagged = read_flagged(tmp_path, ["piqa", "siqa"])
    assert flagged == {"piqa": set(hits[:2]), "siqa": set(), "arc_easy": {hits[2]}}
    [model] = build_board([evaluation], flagged=flagged)["models"]
    piqa = model["rows"]["PIQA"]
    assert (piqa["clean"]["n"], piqa["flagged"]["n"]) == (198, 2)
    items = {i["id"]: i["acc_norm"] for i in evaluation.items("piqa")}
    assert piqa["flagged"]["value"] == sum(items[h] for h in hits[:2]) / 2
    total = 198 * piqa["clean"]["value"] + 2 * piqa["flagged"]["value"]
    assert total == pytest.approx(200 * piqa["value"])
    assert model["rows"]["SIQA"]["flagged"] is None
    assert "clean" not in model["rows"]["MMLU"]  # it was not looked for
    for make in (*FORMATS.values(), render_board):
        assert make(build_board([evaluation], flagged=flagged))


@pytest.mark.parametrize("line", ["{", '{"task": "piqa"}', "[]"])
def test_a_listing_that_is_none_says_which_line(tmp_path, line):
    (tmp_path / "contamination.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match="line 1"):
        read_flagged(tmp_path)
    with pytest.raises(DataError, match="Name the output"):
        read_flagged(tmp_path / "nowhere")


def test_all_forms_hold_every_row(full, partial):
    board = build_board([load_evaluation(full), load_evaluation(partial)])
    lines = list(csv.DictReader(io.StringIO(board_csv(board))))
    ours = [x for x in lines if x["model"] == "a_model"]
    assert [x["row"] for x in ours] == [*leaderboard.suite_rows(), "mean"]
    assert float(ours[-1]["score"]) == pytest.approx(
        100 * board["models"][0]["headline"]["value"], abs=1e-3
    )
    theirs = {x["row"]: x for x in lines if x["model"] == "default training"}
    assert theirs["mean"]["score"] == "30.7500"
    assert theirs["mean"]["source"] == "challenge report, section 3.2"
    text = board_markdown(board)
    assert "mean of 12 of 12" in text
    assert "mean of 1 of 12" in text  # never more complete than it is
    assert "34.48 ±" in text
    tex = board_latex(board)
    assert r"a\_model" in tex
    assert len({line.count("&") for line in tex.splitlines() if line.endswith(r"\\")}) == 1
    assert json.loads(FORMATS["json"](board)) == board


def test_the_page_loads_nothing_and_escapes_names(full, tmp_path):
    named = load_evaluation(full, "<b>x</b>")
    page = render_board(build_board([named]))
    assert "<b>x</b>" not in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "Published scores" in page
    assert page == render_board(build_board([named]))


def test_a_folder_without_scores_says_what_to_name(tmp_path):
    with pytest.raises(DataError, match="openseek eval"):
        load_evaluation(tmp_path)
