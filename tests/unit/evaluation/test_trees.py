import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openseek.evaluation.models import HuggingFaceModel, NativeModel
from openseek.evaluation.scorer import Request, score
from openseek.evaluation.trees import batches, grow
from openseek.model import build_model

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=15)


@settings(max_examples=100)
@given(sequences, st.sampled_from([0, 8, 64]))
def test_every_sequence_is_a_path_that_sees_itself_alone(given_sequences, limit):
    found = {}
    for tree in grow(given_sequences, limit):
        seen = tree.seen(len(tree.tokens) + 2)
        for i, path in tree.paths:
            found[i] = [tree.tokens[slot] for slot in path]
            assert [tree.depths[slot] for slot in path] == list(range(len(path)))
            for n, slot in enumerate(path):
                assert np.flatnonzero(seen[slot]).tolist() == sorted(path[: n + 1])
    assert [found[i] for i in range(len(given_sequences))] == given_sequences


def test_shared_beginnings_are_read_once_and_strangers_stay_apart():
    context = list(range(50))
    options = [[*context, 60 + i, 70] for i in range(4)]
    (tree,) = grow(options, 128)
    assert len(tree.tokens) == 50 + 4 * 2
    assert len(grow([[1, *range(40)], [1, *range(60, 100)]], 128)) == 2


def test_batches_keep_to_their_budget():
    trees = grow([[i] * n for i, n in enumerate((3, 9, 4, 9, 20))], 0)
    found = list(batches(trees, 18))
    assert [[len(t.tokens) for t in batch] for batch in found] == [[20], [9, 9], [4, 3]]


@pytest.mark.parametrize("attention", ["sdpa", "chunked"])
def test_our_model_scores_branches_as_it_scores_rows(model_config, attention):
    config = model_config.model_copy(update={"attention": attention})
    check(NativeModel(build_model(config, seed=3)))


def test_a_transformers_model_scores_branches_as_it_scores_rows():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = HuggingFaceModel(LlamaForCausalLM(LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
    )))  # fmt: skip
    assert model.branch_tokens == 128
    check(model)


def test_a_model_that_cannot_read_branches_gets_rows():
    from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

    small = GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)
    )
    assert HuggingFaceModel(small).branch_tokens == 32
    config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert HuggingFaceModel(MambaForCausalLM(config), context_length=32).branch_tokens == 0


def check(model):
    """Score options of questions with and without branches."""
    rng = np.random.default_rng(0)
    requests = []
    for n in (9, 40, 17, 60):
        context = rng.integers(0, 512, n).tolist()
        requests.extend(
            Request([*context, *rng.integers(0, 512, size).tolist()], size) for size in (1, 5, 3, 5)
        )
    together = score(model, requests, batch_tokens=256)

    class Rows:
        context_length, device = model.context_length, "cpu"
        hidden, logits = model.hidden, model.logits

    alone = score(Rows(), requests, batch_tokens=256)
    for a, b in zip(together, alone, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.greedy == b.greedy
