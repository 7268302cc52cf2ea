"""Samples, chunks and the cache; a real evaluation that is killed again and again."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.config.evaluation import ClozeConfig, EvaluationConfig
from openseek.evaluation import evaluate_model
from openseek.evaluation.sample_cache import SampleCache
from openseek.evaluation.samples import CHUNK_BATCHES, GENERATED_ROWS, Sample, chunks

from .test_benchmarks import fetch

CLOZE = ClozeConfig(items=5, context_tokens=16, choice_tokens=8)

KILLED = """
import json, os, signal, sys, threading
from openseek.config.evaluation import EvaluationConfig
from openseek.evaluation import evaluate_model

job = json.loads(sys.argv[1])
config = EvaluationConfig.model_validate(job.pop("config"))
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
evaluate_model(config=config, **job)
os._exit(0)
"""


def sample(i, size=10, kind="choice"):
    stops = ("\n",) if kind == "generate" else ()
    text = f"{i} ".ljust(3 * size, "x")
    return Sample(kind, text, ("a", "b"), stops=stops, max_tokens=8 if stops else 0)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=80), st.randoms())
def test_chunks_hold_each_sample_once_whatever_the_order(sizes, rng):
    kinds = ("choice", "generate", "document")
    samples = [sample(i, size, kinds[i % 3]) for i, size in enumerate(sizes)]
    found = chunks([*samples, *samples[:3]], 256)
    assert Counter(s.key for c in found for s in c) == Counter(s.key for s in samples)
    for chunk in found:
        assert len({(s.kind, s.stops) for s in chunk}) == 1
        if chunk[0].kind == "generate":
            assert len(chunk) <= GENERATED_ROWS
        elif len(chunk) > 1:
            assert sum(s.size for s in chunk) <= CHUNK_BATCHES * 256
    rng.shuffle(samples)
    assert [[s.key for s in c] for c in chunks(samples, 256)] == [[s.key for s in c] for c in found]


def test_a_key_is_what_is_asked_and_survives_json():
    one = Sample("choice", "ab", ("c",), ((1, 2), ((3,),)))
    assert Sample.from_json(json.loads(json.dumps(one.to_json()))).key == one.key
    others = [
        Sample("choice", "a", ("bc",)), Sample("document", "ab", ("c",)),
        Sample("choice", "ab", ("c",)), Sample("choice", "ab", ("c",), max_tokens=1),
    ]  # fmt: skip
    assert len({s.key for s in [one, *others]}) == 5


def test_the_cache_keeps_models_apart_and_survives_damage(tmp_path):
    cache = SampleCache(str(tmp_path), "m1")
    cache.add({"a": {"bits": 1.5}})
    cache.add({"b": {"bits": 2.5}})
    assert cache.load(["a", "c"]) == {"a": {"bits": 1.5}}
    assert SampleCache(str(tmp_path), "m2").load(["a"]) == {}
    next((tmp_path / "m1").iterdir()).write_text('{"results": {"a": ')
    assert len(cache.load(["a", "b"])) == 1
    assert SampleCache("", "m1").load(["a"]) == {}


@pytest.fixture(scope="module")
def job(tmp_path_factory, model, tokenizer, heldout, downloads):
    folder = tmp_path_factory.mktemp("job")
    fetch(folder / "sets", downloads, tasks=("piqa", "boolq", "mmlu"), max_samples=0)
    config = EvaluationConfig(
        max_samples=0, cloze=CLOZE, processes=2, batch_tokens=64, cache=str(folder / "samples")
    )
    job = {
        "model": str(model), "tokenizer": str(tokenizer), "heldout": str(heldout),
        "benchmarks": str(folder / "sets"), "seed": 7,
    }  # fmt: skip
    return folder, job, config, evaluate_model(out=folder / "out", config=config, **job)


def test_a_second_evaluation_computes_nothing(job, tmp_path):
    folder, inputs, config, first = job
    assert first["samples"]["computed"] == first["samples"]["total"] > 100
    assert first["samples"]["cached"] == 0
    again = evaluate_model(out=tmp_path / "again", config=config, **inputs)
    total = first["samples"]["total"]
    assert again["samples"] == {"total": total, "computed": 0, "cached": total}
    assert (tmp_path / "again/scores.json").read_bytes() == (
        folder / "out/scores.json"
    ).read_bytes()
    fewer = config.model_copy(update={"max_samples": 5, "tasks": ("piqa",)})
    part = evaluate_model(out=tmp_path / "part", config=fewer, **inputs)
    assert part["samples"]["computed"] == 0


@pytest.mark.slow
def test_another_type_of_weights_is_another_model(job, tmp_path):
    _, inputs, config, first = job
    other = config.model_copy(update={"dtype": "bfloat16", "tasks": ("piqa",), "max_samples": 3})
    found = evaluate_model(out=tmp_path / "out", config=other, **{**inputs, "heldout": None})
    assert found["samples"] == {"total": 3, "computed": 3, "cached": 0}
    assert found["digests"]["model"] != first["digests"]["model"]


@pytest.mark.ray
@pytest.mark.slow
def test_ray_computes_the_same(job, tmp_path):
    from openseek.compute import shutdown

    folder, inputs, config, _ = job
    other = config.model_copy(update={"executor": "ray", "cache": str(tmp_path / "samples")})
    try:
        evaluate_model(out=tmp_path / "out", config=other, **inputs)
    finally:
        shutdown()
    assert (tmp_path / "out/scores.json").read_bytes() == (folder / "out/scores.json").read_bytes()


@pytest.mark.slow
def test_killed_ten_times_it_goes_on_and_computes_no_sample_twice(job, tmp_path):
    folder, inputs, config, first = job
    cache = tmp_path / "samples"
    raw = {**inputs, "config": {**config.model_dump(mode="json"), "cache": str(cache)}}
    command = [sys.executable, "-c", KILLED, json.dumps({**raw, "out": str(tmp_path / "out")})]
    rng = random.Random(1)
    codes = []
    last = 0.0
    while codes.count(-9) < 10 and 0 not in codes:
        # From its start to a little later than the last one got: kills at every stage of the work.
        last = rng.uniform(0.3, last + 3.0)
        codes.append(subprocess.run([*command, str(last)], check=False).returncode)
    final = evaluate_model(
        out=tmp_path / "out", config=EvaluationConfig.model_validate(raw["config"]), **inputs
    )
    assert (tmp_path / "out/scores.json").read_bytes() == (folder / "out/scores.json").read_bytes()
    kept = [json.loads(p.read_text())["results"] for p in cache.rglob("*.json")]
    computed = Counter(key for results in kept for key in results)
    assert set(computed.values()) == {1}
    assert len(computed) == first["samples"]["total"]
    assert final["scores"] == first["scores"]
    assert set(codes) <= {-9, 0}
