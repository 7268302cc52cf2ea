import math

import pytest

from openseek.errors import PermanentError
from openseek.evaluation import leaderboard
from openseek.evaluation.summary import group_mean, likelihood, mean_and_error, picked, score_row


def entry(name):
    return next(e for e in leaderboard.published() if e["name"] == name)


@pytest.mark.parametrize(
    ("name", "mean"), [("default training", 30.75), ("curriculum, first stage", 34.48)]
)
def test_published_headlines_follow_from_their_rows(name, mean):
    rows = {row: (value, 0.5) for row, value in entry(name)["rows"].items()}
    found = leaderboard.headline(rows)
    assert round(found["value"], 2) == mean
    assert found["stderr"] == pytest.approx(0.5 / math.sqrt(12))
    assert found["complete"]


def test_every_published_mean_agrees_with_its_rows():
    for published in leaderboard.published():
        if "rows" in published:
            assert set(published["rows"]) == set(leaderboard.suite_rows())
            mean = sum(published["rows"].values()) / 12
            assert mean == pytest.approx(published["mean"], abs=0.006)


def test_a_missing_row_is_an_error_for_the_full_suite_and_named_in_the_demo():
    rows = {row: (value, None) for row, value in entry("default training")["rows"].items()}
    del rows["GSM8K"], rows["TriviaQA"]
    with pytest.raises(PermanentError, match="TriviaQA, GSM8K missing"):
        leaderboard.headline(rows)
    found = leaderboard.headline(rows, "demo")
    assert found["missing"] == ["TriviaQA", "GSM8K"]
    assert found["value"] == pytest.approx(sum(v for v, _ in rows.values()) / 10)
    assert leaderboard.headline({}, "demo") is None
    with pytest.raises(PermanentError, match=r"ARC \(arc_challenge\)"):
        leaderboard.require_full_suite(["hellaswag", "arc_easy"])


def test_arc_is_the_mean_of_both_parts_and_absent_with_only_one():
    def score(task, value):
        return {"task": task, "value": value, "stderr": 0.03}

    both = leaderboard.row_scores([score("arc_easy", 0.6), score("arc_challenge", 0.3)])
    assert both["ARC"] == (pytest.approx(0.45), pytest.approx(0.03 / math.sqrt(2)))
    assert "ARC" not in leaderboard.row_scores([score("arc_easy", 0.6)])


def test_standard_errors():
    assert mean_and_error([1, 0, 1, 0]) == (0.5, pytest.approx(math.sqrt(1 / 3 / 4)))
    assert mean_and_error([1.0]) == (1.0, None)
    assert group_mean([(0.2, 0.03), (0.4, 0.04)]) == (pytest.approx(0.3), pytest.approx(0.025))
    assert group_mean([(0.2, 0.03), (0.4, None)])[1] is None


def test_rows_are_averaged_over_items_or_over_groups():
    rows = [{"acc": a, "logprobs": [0.0] * k} for a, k in ((1, 4), (1, 4), (1, 4), (0, 2))]
    flat = score_row("t", "acc", rows)
    assert (flat["value"], flat["n"]) == (0.75, 4)
    assert flat["chance"] == pytest.approx((3 / 4 + 1 / 2) / 4)
    assert score_row("t", "acc", rows, ["a", "a", "a", "b"])["value"] == 0.5


def test_acc_norm_divides_by_characters_and_likelihood_by_bytes():
    row = {"logprobs": [-10.0, -6.0], "chars": [20, 4], "bytes": [20, 4], "gold": 0}
    assert picked(row, "acc") == 1
    assert picked(row, "acc_norm") == 0
    found = likelihood([row])
    assert found["p_gold"] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert found["bits_per_byte"] == pytest.approx(0.5 / math.log(2))
