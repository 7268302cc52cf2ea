"""Lighteval itself, with models whose answers are known."""

import os

import numpy as np
import pytest
import torch

from openseek.config.evaluation import ClozeConfig
from openseek.evaluation.benchmarks import read_items
from openseek.evaluation.catalog import BENCHMARKS, Item
from openseek.evaluation.heldout import cloze_items, sample_documents
from openseek.evaluation.lighteval_compat import check_versions, import_lighteval
from openseek.evaluation.models import NativeModel, load_codec
from openseek.model import build_model

from .conftest import prose
from .fakes import Knowing, Noise
from .test_benchmarks import fetch


@pytest.fixture(scope="module")
def run(tokenizer):
    """Score a task: run(task, items, model) -> TaskResult."""
    before = dict(os.environ)
    import_lighteval()
    from openseek.evaluation.lighteval_model import OpenSeekLightevalModel
    from openseek.evaluation.lighteval_tasks import run_task

    codec = load_codec(tokenizer)

    def score(task, items, model):
        return run_task(task, items, OpenSeekLightevalModel(model, codec, batch_tokens=512))

    yield score
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def codec(tokenizer):
    return load_codec(tokenizer)


def question(i, choices):
    options = (prose(1000 + 10 * i + c, 1).rstrip(".") for c in range(choices))
    return Item(prose(i, 2), tuple(options), i % choices)


def questions(n, choices=4):
    return [(str(i), question(i, choices)) for i in range(n)]


def answers(codec, task, items):
    """The token sequences of the right answers, as the model will see them."""
    for _, item in items:
        context, choices = BENCHMARKS[task].prompt(item)
        head, tail = codec.encode([context, choices[item.gold]])
        yield [codec.start, *head, *tail]


def test_a_model_that_knows_the_answers_scores_all(run, codec):
    items = questions(20)
    model = Knowing(400, answers(codec, "piqa", items))
    model.context_length = 128
    result = run("piqa", items, model)
    assert result.values["acc"] == (1.0, 0.0)
    assert result.values["acc_norm"] == (1.0, 0.0)
    assert [r["id"] for r in result.rows] == [key for key, _ in items]


def test_a_model_without_a_clue_scores_chance_within_its_error(run):
    model = Noise(400)
    model.context_length = 128
    for name, (value, error) in run("piqa", questions(150), model).values.items():
        assert abs(value - 0.25) < 3 * error, name
        assert error == pytest.approx(np.sqrt(value * (1 - value) / 149), rel=1e-6)


def test_order_of_options_does_not_matter(run):
    model = Noise(400)
    model.context_length = 128
    items = questions(30)
    turned = [
        (key, Item(i.query, i.choices[1:] + i.choices[:1], (i.gold - 1) % len(i.choices)))
        for key, i in items
    ]
    assert run("piqa", items, model).values == run("piqa", turned, model).values


def test_other_weights_give_other_answers(run, model_config):
    items = questions(5)
    own = build_model(model_config, seed=1)
    first = run("piqa", items, NativeModel(own))
    again = run("piqa", items, NativeModel(own))
    assert first.rows == again.rows
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    second = run("piqa", items, NativeModel(own))
    assert all(a["logprobs"] != b["logprobs"] for a, b in zip(first.rows, second.rows, strict=True))
    assert torch.is_grad_enabled()


def test_a_long_question_loses_its_beginning_only(run, codec):
    long = [("0", Item(prose(1, 400), ("the river", "the bridge"), 0))]
    short = [("0", Item(prose(1, 400)[-600:], ("the river", "the bridge"), 0))]
    model = Noise(400)
    model.context_length = 32
    found = [run("openbookqa", items, model).rows[0] for items in (long, short)]
    assert found[0]["logprobs"] == found[1]["logprobs"]


def test_cloze_from_heldout_documents(run, codec, heldout):
    documents = sample_documents([heldout / "made-00000.parquet"], 0, 0, seed=1)
    items = cloze_items("cloze_code", documents, codec, ClozeConfig(items=16), seed=3)
    known = []
    for _, item in items:
        context, *_ = item.meta["context"].split("|")
        true = item.meta["continuations"].split("|")[item.gold]
        known.append([codec.start, *map(int, context.split()), *map(int, true.split())])
    model = Knowing(400, known)
    model.context_length = 128
    result = run("cloze_code", items, model)
    assert result.values["acc"] == (1.0, 0.0)
    assert all(len(set(row["tokens"])) == 1 for row in result.rows)


def test_fetched_items_go_through(run, codec, downloads, tmp_path):
    fetch(tmp_path / "sets", downloads)
    model = Noise(400)
    model.context_length = 256
    for task in ("boolq", "mmlu"):
        items = read_items(tmp_path / "sets" / f"{task}.parquet", 10)
        assert len(run(task, items, model).rows) == 10


def test_installed_versions_are_the_ones_this_was_written_for():
    check_versions()
