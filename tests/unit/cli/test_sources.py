from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from openseek.cli.main import main
from openseek.cli.sources import markdown_table
from openseek.config.mixture import MixtureConfig

README = Path(__file__).parents[3] / "configs" / "README.md"


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr("sys.argv", ["openseek", "data", "sources", *words])
    with pytest.raises(SystemExit) as done:
        main()
    shown = capsys.readouterr()
    return done.value.code, shown.out, shown.err


def test_all_corpora_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, monkeypatch)
    assert code == 0
    for name in ("nemotron-cc-high-actual", "the-stack-v2", "openseek-100b", "84 parts"):
        assert name in out
    code, out, _ = run(capsys, monkeypatch, "--json")
    found = json.loads(out.splitlines()[-1])["sources"]
    assert len(found) == len({s["name"] for s in found}) > 120


def test_a_corpus_is_listed_with_its_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = run(capsys, monkeypatch, "finemath", "--json")
    found = json.loads(out.splitlines()[-1])["sources"]
    assert [s["name"] for s in found][:2] == ["finemath-4plus", "finemath-3plus"]
    assert (found[0]["category"], found[0]["license"]) == ("math", "ODC-By-1.0")
    code, _, err = run(capsys, monkeypatch, "nothing")
    assert code == 2
    assert "there are: cci3-hq" in err


def test_published_weights_become_a_mixture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = run(capsys, monkeypatch, "openseek-100b", "--mixture")
    mixture = MixtureConfig.model_validate(yaml.safe_load(out)["mixture"])
    assert len(mixture.groups) == 84
    arxiv = mixture.groups["openseek-100b-cot_synthesis2_arxiv-mid"]
    assert (arxiv.category, arxiv.weight) == ("cot", 10.1376)
    code, _, err = run(capsys, monkeypatch, "dolma", "--mixture")
    assert code == 2
    assert "without a weight" in err


def test_the_readme_has_the_list() -> None:
    assert markdown_table() in README.read_text(encoding="utf-8"), (
        "put what `openseek data sources --markdown` prints into configs/README.md"
    )
