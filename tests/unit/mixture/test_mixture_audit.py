from __future__ import annotations

import json
from pathlib import Path

import pytest

from openseek.errors import DataError
from openseek.mixture import audit
from openseek.mixture.audit import classify

# The shape of OpenSeek's default recipe, in eleven lines instead of 84.
RECIPE = """subset,file,weight,share
Nemotron-CC-high-actual-actual-high,Nemotron-CC-high-actual-actual-high/part_1_text_document,11.5,0.1
cot_synthesis2_arxiv-high,a,9.0,0.1
cot_synthesis2_arxiv-low,b,16.1,0.1
cot_synthesis_arxiv-mid,c,22.1,0.1
cot_synthesis2_code-mid,d,8.3,0.1
cot_synthesis_math-mid,e,9.0,0.1
math-high,f,5.1,0.1
code-high,g,3.1,0.1
zh_cc-medidum-loss0,h,6.1,0.1
pes2o-full-train,i,8.7,0.1
stack,j,1.0,0.1
"""


def test_it_sees_what_nobody_saw(tmp_path: Path) -> None:
    path = tmp_path / "mix.csv"
    path.write_text(RECIPE)
    report = audit(path)
    assert report.shares["category"]["cot"] == pytest.approx(0.645)
    assert report.shares["source"]["cot_synthesis2_arxiv"] == pytest.approx(0.251)
    assert report.shares["lang"]["zh"] == pytest.approx(0.061)
    assert report.total_weight == pytest.approx(100)
    found = {(f.code, f.subject): f for f in report.findings}
    assert "64.5 % of the tokens are chain of thought" in found["category_high", "cot"].message
    assert ("category_low", "foundation") in found
    assert ("source_high", "cot_synthesis2_arxiv") in found
    assert ("source_high", "cot_synthesis_arxiv") in found
    assert ("source_high", "math") not in found
    assert json.loads(json.dumps(report.to_json()))["findings"][0]["message"] in str(report)


def test_a_sound_mixture_has_no_findings() -> None:
    weights = {"dclm": 30, "fineweb": 30, "zh_cc": 12, "starcoder": 15, "open-math": 5, "books": 8}
    report = audit(weights)
    assert report.findings == ()
    assert sum(report.shares["category"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("cot_synthesis2_math-high", ("cot_synthesis2_math", "cot", "en", "high")),
        ("zh_cc-medidum-loss1", ("zh_cc", "foundation", "zh", "medium")),
        ("code-mid/part_3_text_document", ("code", "code", "code", "medium")),
        ("/data/tokens/math-low_text_document", ("math", "math", "en", "low")),
        ("stack", ("stack", "foundation", "en", "")),
        ("the-stack-v2", ("the-stack-v2", "code", "code", "")),
        ("cottage-stories", ("cottage-stories", "foundation", "en", "")),
    ],
)
def test_names_say_what_they_are(name: str, labels: tuple[str, ...]) -> None:
    found = classify(name)
    assert (found.source, found.category, found.lang, found.tier) == labels


@pytest.mark.parametrize("text", ["code 3\nmath 1\n", "3 code\n1 math\n", "code,3\n\nmath,1\n"])
def test_plain_pairs_are_read_in_any_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "w.txt").write_text(text)
    assert audit(tmp_path / "w.txt").shares["category"] == {"code": 0.75, "math": 0.25}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("name,weight\ncode,much\n", r"w\.csv:2.*'much'"),
        ("colour,weight\nred,1\n", "no column with names"),
        ("code 1 2\n", "expected a name and a weight"),
        ("name,weight\ncode,-1\n", "weight of 'code' is -1"),
        ("name,weight\ncode,nan\n", "weight of 'code' is nan"),
        ("name,weight\ncode,0\n", "sum to 0"),
    ],
)
def test_files_that_are_no_lists_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        audit(tmp_path / "w.csv")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        audit(tmp_path / "none.csv")


def test_a_configuration_is_audited_by_stage() -> None:
    path = Path(__file__).parents[3] / "configs" / "demo.yaml"
    report = audit(path)
    assert list(report.stages) == ["foundation", "specialization", "integration"]
    assert report.stages["integration"].shares["category"]["cot"] == pytest.approx(0.23)
    assert sum(report.shares["category"].values()) == pytest.approx(1)
