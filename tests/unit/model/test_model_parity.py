"""Against transformers' DeepseekV3 in fp32: logits over a grid, gradients, parity traps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openseek.model import export_hf, logit_parity
from openseek.model.hf_names import from_hf

YARN = {"factor": 8.0, "original_max_position_embeddings": 64}
WITHIN = 2e-5  # logits have a standard deviation of 1.2 here


@pytest.mark.parametrize("q_lora_rank", [None, 48])
@pytest.mark.parametrize(
    "rope_scaling", [None, YARN, {**YARN, "mscale": 1.0, "mscale_all_dim": 0.707}]
)
@pytest.mark.parametrize("groups", [(1, 1), (4, 2)])
@pytest.mark.parametrize("tied", [False, True])
def test_logits(
    make, tokenizer_folder, tokens, tmp_path: Path, q_lora_rank, rope_scaling, groups, tied
):
    model = make(
        q_lora_rank=q_lora_rank, rope_scaling=rope_scaling, n_group=groups[0],
        topk_group=groups[1], tie_word_embeddings=tied,
    )  # fmt: skip
    export_hf(model, tokenizer_folder, tmp_path)
    assert logit_parity(model, tmp_path, tokens(3, 96)) < WITHIN


@pytest.mark.parametrize(
    "over",
    [
        {"norm_topk_prob": False, "routed_scaling_factor": 1.0},
        {"n_shared_experts": 2, "first_k_dense_replace": 0, "rms_norm_eps": 1e-5},
        {"attention": "chunked", "experts": "loop", "v_head_dim": 48},
        {"rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.0}},
    ],
)
def test_logits_with_other_settings(make, tokenizer_folder, tokens, tmp_path: Path, over):
    model = make(**over)
    export_hf(model, tokenizer_folder, tmp_path)
    assert logit_parity(model, tmp_path, tokens(3, 96)) < WITHIN


@pytest.mark.parametrize("over", [{}, {"q_lora_rank": 48, "n_group": 4, "topk_group": 2}])
def test_gradients(make, tokenizer_folder, tokens, tmp_path: Path, over):
    from transformers import DeepseekV3ForCausalLM

    model = make(balance={"seq_aux_weight": 0.0}, tie_word_embeddings=True, **over)
    export_hf(model, tokenizer_folder, tmp_path)
    theirs = DeepseekV3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens_BT = tokens(2, 64, low=3)  # transformers gives the padding token no gradient
    labels_BT = torch.full_like(tokens_BT, -100)
    labels_BT[:, :-1] = tokens_BT[:, 1:]
    out = model(tokens_BT, labels_BT=labels_BT)
    reference = theirs(input_ids=tokens_BT, labels=tokens_BT)
    torch.testing.assert_close(out.loss, reference.loss, atol=1e-5, rtol=0)
    out.loss.backward()
    reference.loss.backward()
    expected = from_hf({n: p.grad for n, p in theirs.named_parameters()}, model.config)
    expected.pop("lm_head.weight", None)
    for name, parameter in model.named_parameters():
        scale = float(expected[name].abs().max())
        worst = float((parameter.grad - expected[name]).abs().max())
        assert worst < 1e-4 * scale + 1e-7, (name, worst, scale)


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"rope_theta": 5000.0}, 1e-2),
        ({"routed_scaling_factor": 1.0}, 1e-1),
        ({"norm_topk_prob": False}, 1e-1),
        ({"n_group": 4, "topk_group": 1}, 1e-1),
        ({"rope_scaling": {**YARN, "mscale_all_dim": 0.0}}, 1e-2),
    ],
)
def test_the_gate_notices_each_trap(make, tokenizer_folder, tokens, tmp_path: Path, change, moves):
    """A model exported with another setting is not taken for the same."""
    base = {"rope_scaling": YARN}
    exported, wrong = make(**base), make(**(base | change))
    export_hf(exported, tokenizer_folder, tmp_path)
    assert logit_parity(wrong, tmp_path, tokens(3, 96)) > moves


def test_the_gate_notices_router_biases(make, tokenizer_folder, tokens, tmp_path: Path):
    model = make()
    export_hf(model, tokenizer_folder, tmp_path)
    model.model.layers[1].mlp.gate.e_score_correction_bias.neg_()
    assert logit_parity(model, tmp_path, tokens(3, 96)) > 0.1
