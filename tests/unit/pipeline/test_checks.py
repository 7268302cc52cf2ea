"""What one section asks of another, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_small import config

from openseek.errors import ConfigError
from openseek.pipeline.dag import build

LAW = "{category: foundation, domain: [law], weight: 0.2, optional: true}"
ASKS = f"stages.foundation.mixture={{groups: {{law: {LAW}, foundation: 0.8}}}}"
KEPT = "tokens.domains=true"


def test_a_mixture_may_select_by_a_domain_of_the_labeller(home: Path) -> None:
    nodes = {n.name: n for n in build(config(home, ASKS, KEPT))}
    assert nodes["mix-foundation"].config.model_dump()["mixture"]["groups"]["law"]["domain"] == (
        "law",
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("quality.domains.enabled=false", r"quality\.domains\.enabled is false"),
        ("tokens.domains=false", r"tokens\.domains is false"),
    ],
)
def test_labels_that_nothing_writes_or_keeps_are_refused(
    home: Path, override: str, told: str
) -> None:
    asked = config(home, ASKS, KEPT, override, "quality.fluency.group=category")
    with pytest.raises(ConfigError, match=told) as caught:
        build(asked)
    assert caught.value.where == "stages.foundation.mixture.groups.law.domain"


def test_a_domain_that_the_labeller_does_not_know_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no document will be labelled 'laws'.*law, "):
        build(config(home, KEPT, ASKS.replace("[law]", "[laws]")))
    lexicon = tmp_path / "own.yaml"
    lexicon.write_text("ships: {en: 'keel, mast'}\n")
    with pytest.raises(ConfigError, match="Choose of ships, general"):
        build(config(home, ASKS, KEPT, f"quality.domains.lexicon={lexicon}"))


def test_a_classifier_of_the_run_labels_unless_another_is_named(home: Path, tmp_path: Path) -> None:
    rows = tmp_path / "labels.jsonl"
    rows.write_text('{"text": "a", "domain": "ships"}\n')
    given = f"domain_classifier={{labels: {rows}}}"
    asked = config(
        home, given, KEPT, ASKS.replace("[law]", "[ships]")
    )  # its labels are not known yet
    nodes = {n.name: n for n in build(asked)}
    assert nodes["domains"].inputs == {}
    assert nodes["score"].inputs["domains"].node == "domains"
    before = nodes["domains"].outside(asked.runtime)
    rows.write_text('{"text": "b", "domain": "ships"}\n')
    assert nodes["domains"].outside(asked.runtime) != before
    nodes = {n.name: n for n in build(config(home, "domain_classifier={label: source}"))}
    assert nodes["domains"].inputs["documents"].node == nodes["score"].inputs["documents"].node
    other = "quality.domains.classifier=/some/folder"
    nodes = {n.name: n for n in build(config(home, given, other))}
    assert "domains" not in nodes["score"].inputs
