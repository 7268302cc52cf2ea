"""Any checkpoint under a run's evaluation settings: found by name, evaluated once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipeline_small import calls, config, execute

from openseek.artifacts import StepContext
from openseek.errors import StoreError
from openseek.pipeline.checkpoints import evaluate_checkpoint, resolve, upstream_of
from openseek.pipeline.follow import checkpoint_refs
from openseek.pipeline.run import Pipeline, Ref


def training(ctx: StepContext[Any]) -> dict[str, Any]:
    """Leave a model, and the checkpoint of step 4."""
    folder = ctx.out.scratch / "checkpoint"
    weights(folder / "model", b"early")
    (folder / "optimizer.bin").write_bytes(b"moments")
    ctx.out.commit_checkpoint(4, folder, {"step": 4})
    for path in weights(ctx.out.scratch / "model", b"late").iterdir():
        ctx.out.add(f"model/{path.name}", path)
    return {"tokens": 100, "steps": 10}


def weights(folder: Path, content: bytes) -> Path:
    """A folder that looks like a model's."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)
    return folder


@pytest.fixture
def pipeline(home: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A run whose data steps and whose first training are done; evaluation is the small step."""
    calls.clear()
    made = Pipeline(config(home))
    monkeypatch.setattr("pipeline_small.training", training, raising=False)
    refs: dict[str, Ref] = {}
    data = [n.name for n in made.nodes[: made.nodes.index(made.node("mix-foundation")) + 1]]
    execute(made, *data, refs=refs)
    execute(made, "train-foundation", function="training", refs=refs)
    made.nodes = [replace(n, function="pipeline_small:write") for n in made.nodes]
    calls.clear()
    return made


def test_the_same_weights_are_evaluated_once_wherever_they_lie(
    pipeline: Pipeline, home: Path
) -> None:
    upstream = upstream_of(pipeline)
    found = []
    for name, content in (("here", b"1"), ("there", b"1"), ("other", b"2")):
        folder = weights(home / name, content)
        model = resolve(pipeline.store, str(folder), home / "laid-out")
        found.append(evaluate_checkpoint(pipeline, model, upstream))
    assert [o.state for o in found] == ["ran", "cached", "ran"]
    assert found[0].manifest.step == "evaluate"
    assert len(calls) == 2
    ref = pipeline.store.read_ref(pipeline.config.name, found[2].ref.node)
    assert ref is not None
    assert ref["key"] == found[2].ref.key


def test_a_model_with_a_tokenizer_is_read_by_its_own(pipeline: Pipeline, home: Path) -> None:
    folder = weights(home / "hf", b"1")
    (folder / "tokenizer.json").write_text("{}")
    model = resolve(pipeline.store, str(home / "hf"), home / "laid-out")
    assert model.tokenizer == folder
    made = evaluate_checkpoint(pipeline, model, upstream_of(pipeline, tokenizer=False))
    [written] = [f for f in made.manifest.files if f.name == "train/out.txt"]
    text = (home / "store" / made.manifest.folder / written.path).read_text()
    assert "'tokenizer': ['config.json', 'model.safetensors', 'tokenizer.json']" in text


def test_steps_and_checkpoints_of_a_run_are_named(pipeline: Pipeline, home: Path) -> None:
    run = pipeline.config.name
    last = resolve(pipeline.store, f"{run}/train-foundation", home / "a")
    assert (last.folder / "model.safetensors").read_bytes() == b"late"
    within = resolve(pipeline.store, f"{run}/train-foundation@4", home / "b")
    assert (within.folder / "model.safetensors").read_bytes() == b"early"
    assert not (within.folder / "optimizer.bin").exists()
    assert last.digest != within.digest
    assert last.digest == resolve(pipeline.store, f"{run}/train-foundation", home / "c").digest


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.bin", "Name a folder"),
        ("tiny/train-integration", "no step 'train-integration' in run 'tiny'"),
        ("other/export", "no step 'export' in run 'other'"),
        ("tiny/train-foundation@8", "step 8 is not kept"),
        ("tiny/ingest", r"no config\.json"),
    ],
)
def test_what_is_no_checkpoint_says_how_to_name_one(
    pipeline: Pipeline, home: Path, name: str, said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        resolve(pipeline.store, name, home / "laid-out")


def test_a_damaged_checkpoint_is_not_evaluated(pipeline: Pipeline, home: Path) -> None:
    [path] = (home / "store").rglob("checkpoints/4/model/model.safetensors")
    path.chmod(0o644)
    path.write_bytes(b"EARLY")
    with pytest.raises(StoreError, match="damaged"):
        resolve(pipeline.store, "tiny/train-foundation@4", home / "laid-out")


def test_the_report_reads_the_evaluations_of_this_training_only(pipeline: Pipeline) -> None:
    body = {"step": "evaluate", "key": "k", "content_digest": "d"}
    for step, key in ((4, "this"), (8, "this"), (4, "another")):
        name = f"checkpoint-{'foundation' if key == 'this' else 'integration'}-{step}"
        pipeline.store.write_ref("tiny", name, {**body, "node": name, "train": key})
    found = checkpoint_refs(pipeline, {"train-foundation": "this"})
    assert list(found) == ["checkpoint-foundation-4", "checkpoint-foundation-8"]
    report = pipeline.node("report")
    refs = {i.node: Ref(i.node, i.node.split("-")[0], "this", "d") for i in report.inputs.values()}
    node, known = pipeline.with_checkpoints(report, refs)
    assert set(node.inputs) - set(report.inputs) == set(found)
    assert pipeline.spec(node, known).key != pipeline.spec(report, refs).key
    assert json.dumps(pipeline.spec(report, refs).inputs).count("checkpoint-") == 0
