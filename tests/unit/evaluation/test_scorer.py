import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.evaluation.models import NativeModel
from openseek.evaluation.scorer import Request, score
from openseek.model import build_model

from .fakes import Noise, Uniform

tokens = st.lists(st.integers(0, 30), min_size=2, max_size=20)


def reference(model, request):
    """Score one sequence alone with the textbook formula."""
    ids = torch.tensor(request.tokens)
    logits = model.logits(model.hidden(ids[None, :-1])[0]).double().log_softmax(-1)
    picked = logits[torch.arange(len(ids) - 1), ids[1:]]
    return picked[-request.n_scored :].sum().item()


@settings(max_examples=30)
@given(st.lists(tokens, min_size=1, max_size=12), st.integers(1, 60))
def test_scores_do_not_depend_on_batches(sequences, batch_tokens):
    model = Noise(31)
    requests = [Request(s, max(1, len(s) // 2)) for s in sequences]
    found = [s.total for s in score(model, requests, batch_tokens=batch_tokens)]
    assert found == pytest.approx([reference(model, r) for r in requests], abs=1e-4)


def test_native_model_equals_its_own_logits(model_config):
    own = build_model(model_config, seed=3).eval()
    rng = np.random.default_rng(0)
    requests = [Request(rng.integers(0, 512, n).tolist(), n // 3) for n in (9, 40, 17, 100)]
    found = score(NativeModel(own), requests, batch_tokens=128)
    for request, scored in zip(requests, found, strict=True):
        ids = torch.tensor([request.tokens])
        with torch.no_grad():
            logprobs = own(ids[:, :-1], return_logits=True).logits_BTV[0].log_softmax(-1)
        expected = logprobs.gather(1, ids[0, 1:, None])[-request.n_scored :, 0]
        assert scored.logprobs == pytest.approx(expected.numpy(), abs=1e-4)


def test_greedy_means_that_every_scored_token_was_the_likeliest():
    model = Noise(31)
    with torch.no_grad():
        best = int(model.logits(model.hidden(torch.tensor([[1, 2]]))[0])[-1].argmax())
    found = score(
        model, [Request([1, 2, best], 1), Request([1, 2, (best + 1) % 31], 1)], batch_tokens=8
    )
    assert [s.greedy for s in found] == [True, False]


def test_gradients_stay_as_they_were():
    score(Uniform(5), [Request([1, 2], 1)], batch_tokens=8)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_nothing_before_the_scored_tokens_is_refused():
    with pytest.raises(ValueError, match="2 scored tokens"):
        score(Uniform(5), [Request([1, 2], 2)], batch_tokens=8)
