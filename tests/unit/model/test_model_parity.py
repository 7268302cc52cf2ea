"""Against transformers' DeepseekV3 in fp32: logits over a grid, gradients, parity traps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from openseek.model import OpenSeekModel, attention, export_hf, logit_parity, moe

YARN = {"factor": 8.0, "original_max_position_embeddings": 64}
WITHIN = 2e-5  # logits have a standard deviation of 1.2 here


@pytest.mark.parametrize("q_lora_rank", [None, 48])
@pytest.mark.parametrize(
    "rope_scaling", [None, YARN, {**YARN, "mscale": 1.0, "mscale_all_dim": 0.707}]
)
@pytest.mark.parametrize("groups", [(1, 1), (4, 2)])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_and_gradients(
    make, tokenizer_folder, tokens, tmp_path: Path, q_lora_rank, rope_scaling, groups, tied
):
    model = make(
        q_lora_rank=q_lora_rank, rope_scaling=rope_scaling, n_group=groups[0],
        topk_group=groups[1], tie_word_embeddings=tied, balance={"seq_aux_weight": 0.0},
    )  # fmt: skip
    export_hf(model, tokenizer_folder, tmp_path)
    assert logit_parity(model, tmp_path, tokens(3, 96)) < WITHIN
    compare_gradients(model, tmp_path, tokens(2, 48, low=3))


def compare_gradients(model: OpenSeekModel, folder: Path, tokens_BT: torch.Tensor) -> None:
    """Compare loss and the gradient of every parameter, the experts' one by one.

    The tokens must not hold the padding token, to which transformers gives no gradient.
    """
    from transformers import DeepseekV3ForCausalLM

    theirs = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    labels_BT = torch.full_like(tokens_BT, -100)
    labels_BT[:, :-1] = tokens_BT[:, 1:]
    out = model(tokens_BT, labels_BT=labels_BT)
    reference = theirs(input_ids=tokens_BT, labels=tokens_BT)
    torch.testing.assert_close(out.loss, reference.loss, atol=1e-5, rtol=0)
    out.loss.backward()
    reference.loss.backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    ours = {name: p.grad for name, p in model.named_parameters()}
    assert ours.keys() == expected.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(
            grad, expected[name], atol=WITHIN, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


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


def latent_eps(monkeypatch) -> None:
    """Give the latents' norms the layers' epsilon."""
    monkeypatch.setattr(attention, "LATENT_EPS", 1e-2)


def halves(monkeypatch) -> None:
    """Rotate halves in place of neighbours."""

    def wrong(x_BTHR: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        first, second = x_BTHR.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    monkeypatch.setattr(attention, "rotate", wrong)


def best_of_group(monkeypatch) -> None:
    """Rank groups by their best expert in place of their two best."""
    monkeypatch.setattr(
        moe, "_group_rank", lambda scores_SE, groups: scores_SE.unflatten(1, (groups, -1)).amax(-1)
    )


def biased_weights(monkeypatch) -> None:
    """Weigh experts by the scores that chose them."""
    plain = moe.Router.forward

    def wrong(self: moe.Router, x_SD: torch.Tensor) -> moe.Routing:
        out = plain(self, x_SD)
        biased = (out.scores_SE + self.e_score_correction_bias).gather(1, out.experts_SK)
        return out._replace(weights_SK=biased / biased.sum(-1, keepdim=True) * self.scale)

    monkeypatch.setattr(moe.Router, "forward", wrong)


def normalised_before(monkeypatch) -> None:
    """Normalise over all experts, not over the chosen ones."""
    plain = moe.Router.forward

    def wrong(self: moe.Router, x_SD: torch.Tensor) -> moe.Routing:
        out = plain(self, x_SD)
        share = out.scores_SE / out.scores_SE.sum(-1, keepdim=True)
        return out._replace(weights_SK=share.gather(1, out.experts_SK) * self.scale)

    monkeypatch.setattr(moe.Router, "forward", wrong)


def closed_by_zero(monkeypatch) -> None:
    """Give experts of closed groups a score of 0, which beats a negative one."""
    plain = moe.Router._limit_groups

    def wrong(self: moe.Router, choice_SE: torch.Tensor) -> torch.Tensor:
        return plain(self, choice_SE).nan_to_num(neginf=0.0)

    monkeypatch.setattr(moe.Router, "_limit_groups", wrong)


def plain_softmax_scale(monkeypatch) -> None:
    """Leave YaRN's mscale out of the softmax scale."""
    monkeypatch.setattr(attention, "softmax_scale", lambda config: config.qk_head_dim**-0.5)


@pytest.mark.parametrize(
    ("trap", "moves"),
    [
        (latent_eps, 1e-3), (halves, 1e-1), (best_of_group, 1e-1), (biased_weights, 1e-1),
        (normalised_before, 1e-1), (closed_by_zero, 1e-1), (plain_softmax_scale, 1e-2),
    ],
)  # fmt: skip
def test_each_trap_shows(make, tokenizer_folder, tokens, tmp_path: Path, monkeypatch, trap, moves):
    """With the mistake the logits differ, without it they do not."""
    over = {"n_group": 4, "topk_group": 2, "rope_scaling": YARN, "q_lora_rank": 48}
    model = make(**over)
    lower_biases(model)
    export_hf(model, tokenizer_folder, tmp_path)
    tokens_BT = tokens(2, 96)
    assert logit_parity(model, tmp_path, tokens_BT) < WITHIN
    right_BTV = model(tokens_BT, return_logits=True).logits_BTV
    trap(monkeypatch)
    wrong = make(**over)
    lower_biases(wrong)
    wrong_BTV = wrong(tokens_BT, return_logits=True).logits_BTV
    assert float((wrong_BTV - right_BTV).detach().abs().max()) > moves


def lower_biases(model: OpenSeekModel) -> None:
    """Make most biased scores negative."""
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.sub_(0.8)


def test_the_router_in_bf16_would_choose_others(make, tokens):
    """In bf16 scores tie and move: the choice, made in fp32, would be another one."""
    gate = make(dtype=torch.bfloat16).model.layers[1].mlp.gate
    x_SD = torch.randn(512, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    scores = torch.nn.functional.linear(x_SD, gate.weight).sigmoid() + gate.e_score_correction_bias
    rough = scores.topk(gate.top_k, dim=-1).indices.sort(dim=-1).values
    exact = (x_SD.double() @ gate.weight.double().t()).sigmoid() + gate.e_score_correction_bias
    expected = exact.topk(gate.top_k, dim=-1).indices.sort(dim=-1).values
    assert torch.equal(gate(x_SD).experts_SK.sort(dim=-1).values, expected)
    assert not torch.equal(rough, expected)
