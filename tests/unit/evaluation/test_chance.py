"""What scores must not depend on: a model without a clue, and the order of the options."""

import numpy as np
import pytest

from openseek.evaluation.catalog import BENCHMARKS, Item, to_item
from openseek.evaluation.models import load_codec
from openseek.evaluation.scorer import Request, score
from openseek.evaluation.summary import mean_and_error, picked

from .conftest import CHINESE, chinese, prose
from .fakes import Noise, Uniform
from .rows import GOLDEN

CHOICES = [task for task, b in BENCHMARKS.items() if b.kind == "choice"]
CLOZE = [task for task in CHOICES if not task.endswith("_mc")]
N = 100


@pytest.fixture(scope="module")
def codec(tokenizer):
    return load_codec(tokenizer)


def items(task, n=N):
    """Items whose right option is drawn by lot, with texts of the task's language and subject."""
    rng = np.random.default_rng(len(task))
    made = to_item(BENCHMARKS[task], GOLDEN[task][0], "row 0")
    for i in range(n):
        if task in {"cmmlu", "ceval"}:
            texts = [chinese(7 * i + c, 3 + (i + c) % 5) for c in range(len(made.choices))]
        elif task == "boolq":
            texts = list(made.choices)
        else:
            texts = [prose(7 * i + c, 1 + (i + c) % 3) for c in range(len(made.choices))]
        query = f"{prose(i, 1)}_ {CHINESE[i % 9]}\n{i}"
        meta = {**made.meta, "lead": "then"} if task == "hellaswag" else made.meta
        yield Item(query, tuple(texts), int(rng.integers(len(texts))), meta)


def scored(task, item, codec, model):
    """Score an item's options as the runner does: log-likelihoods and counted characters."""
    context, continuations = BENCHMARKS[task].prompt(item)
    head, *tails = codec.encode([context, *continuations])
    requests = [Request([codec.start, *head, *tail][-model.context_length :], len(tail))
                for tail in tails]  # fmt: skip
    return {
        "logprobs": [s.total for s in score(model, requests, batch_tokens=2048)],
        "chars": [len(c) - c.startswith(" ") for c in continuations],
    }


@pytest.mark.parametrize("task", CHOICES)
@pytest.mark.parametrize("model", [Uniform(400), Noise(400)], ids=["uniform", "noise"])
def test_a_model_without_a_clue_scores_chance_within_its_error(task, model, codec):
    model.context_length = 256
    metric = BENCHMARKS[task].metric
    right, chance = [], []
    for item in items(task):
        row = scored(task, item, codec, model)
        right.append(float(picked(row, metric) == item.gold))
        chance.append(1 / len(item.choices))
    value, error = mean_and_error(right)
    assert abs(value - np.mean(chance)) < 3.5 * error


@pytest.mark.parametrize("task", CLOZE)
def test_the_order_of_the_options_changes_no_pick_of_a_cloze_task(task, codec):
    model = Noise(400)
    model.context_length = 256
    metric = BENCHMARKS[task].metric
    rng = np.random.default_rng(3)
    for item in items(task, 15):
        order = rng.permutation(len(item.choices))
        turned = Item(
            item.query, tuple(item.choices[i] for i in order), int(np.argsort(order)[item.gold]),
            item.meta,
        )  # fmt: skip
        first, second = (scored(task, i, codec, model) for i in (item, turned))
        assert item.choices[picked(first, metric)] == turned.choices[picked(second, metric)]
        assert np.allclose(np.array(first["logprobs"])[order], second["logprobs"], atol=1e-4)
