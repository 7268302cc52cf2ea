"""The DAG: its order, what it needs, and which change reaches which key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_small import config, keys

from openseek.errors import ConfigError
from openseek.pipeline.dag import Node, build, select
from openseek.pipeline.run import Pipeline


def downstream(nodes: list[Node], *names: str) -> set[str]:
    found = set(names)
    for node in nodes:
        if found & {i.node for i in node.inputs.values()}:
            found.add(node.name)
    return found


def changed(home: Path, override: str, *, propagate: bool) -> set[str]:
    before = keys(Pipeline(config(home)), propagate=propagate)
    after = keys(Pipeline(config(home, override)), propagate=propagate)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_names_are_unique_and_every_input_comes_earlier(home: Path) -> None:
    seen: set[str] = set()
    for node in build(config(home)):
        assert node.name not in seen
        assert {i.node for i in node.inputs.values()} <= seen, node.name
        seen.add(node.name)


def test_training_sees_no_heldout_document_and_evaluation_nothing_else(home: Path) -> None:
    nodes = {n.name: n for n in build(config(home))}
    assert nodes["decontaminate"].inputs["documents"].prefix == "train/"
    readers = {(n.name, k) for n in nodes.values() for k, i in n.inputs.items() if i.prefix == ""}
    assert {n for n, k in readers if nodes[n].inputs[k].node == "split"} == {"report"}
    assert nodes["evaluate-integration"].inputs["heldout"].prefix == "heldout/"


def test_each_stage_starts_from_the_one_before_it(home: Path) -> None:
    nodes = {n.name: n for n in build(config(home))}
    previous = {n: {k: i.node for k, i in nodes[n].inputs.items()}.get("previous") for n in nodes}
    assert previous["train-foundation"] is None
    assert previous["train-specialization"] == "train-foundation"
    assert previous["train-integration"] == "train-specialization"
    assert nodes["export"].inputs["model"].node == "train-integration"


def test_every_function_can_be_imported(home: Path) -> None:
    for node in build(config(home)):
        assert callable(node.load()), node.name
        assert node.about, node.name


def test_select_keeps_ancestors_in_order(home: Path) -> None:
    nodes = build(config(home))
    assert [n.name for n in select(nodes, ["dedup"])] == ["ingest", "clean", "dedup"]
    both = [n.name for n in select(nodes, ["benchmarks", "clean"])]
    assert both == ["benchmarks", "ingest", "clean"]
    assert select(nodes, []) == nodes
    assert select(nodes, ["report"]) == nodes
    until = {n.name for n in select(nodes, ["train-foundation"])}
    assert "tokenise" in until
    assert not until & {"mix-integration", "evaluate-foundation", "export", "report"}


def test_unknown_target_names_the_steps(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"no step 'trian'.*train-foundation"):
        select(build(config(home)), ["trian"])


@pytest.mark.parametrize(
    "override",
    [
        "runtime.workers=7",
        "runtime.world_size=3",
        "runtime.lease_s=5",
        "runtime.max_bad_fraction=0.5",
        "runtime.ray_address=10.0.0.1:6379",
    ],
)
def test_where_it_runs_changes_no_key(home: Path, override: str) -> None:
    assert changed(home, override, propagate=True) == set()


def test_the_place_of_a_source_changes_no_key_but_its_content_does(home: Path) -> None:
    before = keys(Pipeline(config(home)), propagate=True)
    (home / "elsewhere").mkdir()
    moved = config(home, f"sources.a.path=['{home}/elsewhere']")
    (home / "elsewhere" / "a.txt").write_text((home / "text" / "a.txt").read_text())
    assert keys(Pipeline(moved), propagate=True) == before
    (home / "elsewhere" / "a.txt").write_text("Other words.")
    after = keys(Pipeline(moved), propagate=True)
    nodes = build(moved)
    assert {n for n in before if before[n] != after[n]} == downstream(nodes, "ingest")


STAGE = "specialization"


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("cleaning.preset=cci4", {"clean"}),
        ("heldout.fraction=0.2", {"split"}),
        ("tokenizer.vocab_size=2048", {"tokenizer"}),
        ("stages.specialization.tokens=48k", {f"mix-{STAGE}", f"train-{STAGE}"}),
        ("evaluation.heldout_bytes=9kB", {f"evaluate-{s}" for s in
                                          ("foundation", STAGE, "integration")}),
        ("benchmarks.max_samples=1", {"benchmarks"}),
        ("name=other", set()),
    ],
)  # fmt: skip
def test_a_param_changes_its_step_and_what_follows(
    home: Path, override: str, first: set[str]
) -> None:
    # The report shows the whole configuration, so it is always part of what changes.
    same_outputs = changed(home, override, propagate=False)
    assert same_outputs == first | {"report"}
    nodes = build(config(home))
    assert changed(home, override, propagate=True) == downstream(nodes, *first) | {"report"}


def test_the_seed_changes_every_key(home: Path) -> None:
    assert changed(home, "seed=18", propagate=False) == {n.name for n in build(config(home))}


def test_force_changes_the_key_of_that_step_alone(home: Path) -> None:
    plain = keys(Pipeline(config(home)), propagate=False)
    forced = keys(Pipeline(config(home), {"clean": "today"}), propagate=False)
    assert {n for n in plain if plain[n] != forced[n]} == {"clean"}


class TestLabelling:
    """The optional steps that grade a sample and train a classifier on the grades."""

    LINEAR = "quality.scorers=[{kind: linear, name: edu}]"

    def test_they_are_there_when_they_are_configured(self, home: Path) -> None:
        assert not {"label", "classifier"} & {n.name for n in build(config(home))}
        nodes = {n.name: n for n in build(config(home, "labelling={}", self.LINEAR))}
        assert nodes["label"].inputs["documents"].node == "dedup"
        assert nodes["score"].inputs["classifier"].node == "classifier"
        assert [n.name for n in select(list(nodes.values()), ["classifier"])] == [
            "ingest", "clean", "dedup", "label", "classifier",
        ]  # fmt: skip

    def test_a_scorer_with_a_model_of_its_own_needs_none(self, home: Path) -> None:
        given = "quality.scorers=[{kind: linear, name: edu, model: /models/edu}]"
        nodes = {n.name: n for n in build(config(home, "labelling={}", given))}
        assert set(nodes["score"].inputs) == {"documents"}
        with pytest.raises(ConfigError, match="section labelling"):
            config(home, self.LINEAR)

    def test_a_classifier_of_domains_learns_what_the_teacher_named(self, home: Path) -> None:
        both = ("labelling.prompts=[direct, domain]", "domain_classifier={}")
        nodes = {n.name: n for n in build(config(home, "labelling={}", *both))}
        assert nodes["domains"].inputs["labels"].node == "label"
        assert nodes["score"].inputs["domains"].node == "domains"
        assert "classifier" in nodes
        for other in ("domain_classifier.label=source", "labelling.prompts=[direct]"):
            nodes = {n.name: n for n in build(config(home, "labelling={}", *both, other))}
            assert set(nodes["domains"].inputs) == {"documents"}
        only = "labelling.prompts=[domain]"
        assert "classifier" not in {n.name for n in build(config(home, "labelling={}", only))}
        with pytest.raises(ConfigError, match="nobody grades"):
            config(home, "labelling={}", only, self.LINEAR)

    def test_other_grades_reach_the_scores_only_through_the_classifier(self, home: Path) -> None:
        def keys_of(*overrides: str) -> dict[str, str]:
            return keys(Pipeline(config(home, "labelling={}", *overrides)), propagate=True)

        before, after = keys_of(), keys_of("labelling.documents=7")
        assert {n for n in before if before[n] != after[n]} == {"label", "classifier", "report"}
        before, after = keys_of(self.LINEAR), keys_of(self.LINEAR, "labelling.documents=7")
        assert {"label", "classifier", "score", "tokenise"} <= {
            n for n in before if before[n] != after[n]
        }
        assert keys_of("labelling.cache=/elsewhere") == keys_of()


def test_synthetic_rows_are_held_to_the_documents_limits(home: Path) -> None:
    found = changed(home, "decontamination.word_ngram=10", propagate=False)
    assert found == {"decontaminate", "synthesise", "report"}
    own = changed(home, "synthesis.decontamination.word_ngram=10", propagate=False)
    assert own == {"synthesise", "report"}
