"""The same prompts and the same verdicts as lighteval's own tasks, where the format is the same."""

import importlib
import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.evaluation.catalog import BENCHMARKS, to_item
from openseek.evaluation.lean_imports import placeholders
from openseek.evaluation.lighteval_compat import import_lighteval
from openseek.evaluation.tasks.gsm8k import same_number
from openseek.evaluation.tasks.triviaqa import quasi_exact

from .rows import GOLDEN

STOCK = {
    "arc_easy": ("arc", "arc_prompt"),
    "arc_challenge": ("arc", "arc_prompt"),
    "winogrande": ("winogrande", "winogrande_prompt"),
    "triviaqa": ("triviaqa", "triviaqa_prompt"),
    "gsm8k": ("gsm8k", "gsm8k_prompt"),
}
TEXT = st.text(alphabet=string.ascii_letters + string.digits + " .,-#\n$'é", max_size=24)


@pytest.fixture(scope="module")
def stock():
    """Import a function of lighteval: stock(module, name)."""
    before = dict(os.environ)
    import_lighteval()

    def find(module, name):
        with placeholders():
            return getattr(importlib.import_module(f"lighteval.{module}"), name)

    yield find
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize("task", STOCK)
def test_prompts_are_those_of_lightevals_own_task(task, stock):
    module, name = STOCK[task]
    row = GOLDEN[task][0]
    doc = stock(f"tasks.tasks.{module}", name)(row)
    item = to_item(BENCHMARKS[task], row, "row 0")
    context, continuations = BENCHMARKS[task].prompt(item)
    assert doc.query == context
    if BENCHMARKS[task].kind == "choice":
        assert (doc.choices, doc.gold_index) == (continuations, item.gold)
    else:
        golds = doc.get_golds()
        assert [g.strip() for g in golds] == [a.strip() for a in item.answers]


@settings(max_examples=150)
@given(said=TEXT, aliases=st.lists(TEXT, min_size=1, max_size=4))
def test_short_answers_are_judged_as_by_lighteval(stock, said, aliases):
    exact = stock("metrics.metrics_sample", "ExactMatches")(
        strip_strings=True,
        normalize_pred=stock("metrics.normalizations", "harness_triviaqa_normalizer"),
    )
    bare = [a.lower().translate(str.maketrans("", "", string.punctuation)) for a in aliases]
    wanted = max(exact.compute_one_item(gold=g, pred=said) for g in bare)
    assert quasi_exact(said, bare) == {"qem": wanted}


@settings(max_examples=150)
@given(before=TEXT, number=TEXT, gold=st.integers(-2000, 2000))
def test_numbers_are_judged_as_by_lighteval(stock, before, number, gold):
    normal = stock("metrics.normalizations", "gsm8k_normalizer")
    exact = stock("metrics.metrics_sample", "ExactMatches")(
        strip_strings=True, normalize_pred=normal, normalize_gold=normal
    )
    answer = f"so\n#### {gold:,}"
    for said in (f"{before}#### {number}", f"{before}\n#### {gold}", f"{before}#### {gold:,}."):
        wanted = exact.compute_one_item(gold=answer, pred=said)
        assert same_number(said, [answer]) == {"qem": wanted}
