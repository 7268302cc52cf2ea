"""Attention in packed rows, experts, router, loss, MTP, balance: each against plain arithmetic."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from openseek.model import expert_load, generate, update_router_biases
from openseek.model.attention import attention_bias, chunked, document_positions, sdpa
from openseek.model.expert_kernels import grouped, loop, plan
from openseek.model.layers import RMSNorm, rotate
from openseek.model.loss import linear_cross_entropy
from openseek.model.moe import Router, sequence_balance_loss


def shifted(tokens_BT: torch.Tensor, doc_BT: torch.Tensor) -> torch.Tensor:
    labels_BT = torch.full_like(tokens_BT, -100)
    same = doc_BT[:, 1:] == doc_BT[:, :-1]
    labels_BT[:, :-1] = tokens_BT[:, 1:].where(same, -100)
    return labels_BT


def test_positions_restart_at_every_change() -> None:
    doc_BT = torch.tensor([[5, 5, 5, 2, 2, 5], [0, 1, 2, 2, 2, 2]])
    expected = [[0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 2, 3]]
    assert document_positions(doc_BT).tolist() == expected


@pytest.mark.parametrize("attention", ["sdpa", "chunked"])
@pytest.mark.parametrize("v_head_dim", [24, 48])
def test_packed_documents_equal_separate_ones(make, tokens, attention, v_head_dim) -> None:
    model = make(attention=attention, v_head_dim=v_head_dim, mtp={"depth": 2})
    a, b, c = tokens(1, 40, 1), tokens(1, 33, 2), tokens(1, 300, 3)
    packed = torch.cat([a, b, c], dim=1)
    doc_BT = torch.repeat_interleave(torch.tensor([7, 3, 7]), torch.tensor([40, 33, 300]))[None]
    together = model(packed, labels_BT=shifted(packed, doc_BT), doc_BT=doc_BT, return_logits=True)
    separate = [
        model(t, labels_BT=shifted(t, torch.zeros_like(t)), return_logits=True) for t in (a, b, c)
    ]
    expected = torch.cat([o.logits_BTV for o in separate], dim=1)
    torch.testing.assert_close(together.logits_BTV, expected, atol=2e-5, rtol=0)
    losses = torch.cat([o.token_loss_BT for o in separate], dim=1)
    torch.testing.assert_close(together.token_loss_BT, losses, atol=2e-5, rtol=0)
    for k in (1, 2):  # MTP at depth k has k labels fewer in each document
        counts = torch.tensor([40 - 1 - k, 33 - 1 - k, 300 - 1 - k])
        means = torch.stack([o.parts[f"mtp_{k}"] for o in separate])
        mean = (means * counts).sum() / counts.sum()
        torch.testing.assert_close(together.parts[f"mtp_{k}"], mean, atol=2e-5, rtol=0)


def test_nothing_looks_ahead(make, tokens) -> None:
    model = make(mtp={"depth": 1})
    left, right = tokens(2, 64, 1), tokens(2, 64, 2)
    mixed = torch.cat([left[:, :32], right[:, 32:]], dim=1)
    seen, expected = model.hidden_states(mixed)[:, :32], model.hidden_states(left)[:, :32]
    torch.testing.assert_close(seen, expected, atol=1e-6, rtol=0)


def test_chosen_logits_are_those_of_the_full_pass(make, tokens) -> None:
    model = make()
    tokens_BT = tokens(3, 32)
    chosen = torch.rand(3, 32, generator=torch.Generator().manual_seed(0)) < 0.2
    every = model(tokens_BT, return_logits=True)
    assert every.loss is None
    torch.testing.assert_close(model.logits_at(tokens_BT, chosen), every.logits_BTV[chosen])


@pytest.mark.parametrize("q_lora_rank", [None, 48])
def test_cached_decoding_equals_recomputing(make, tokens, q_lora_rank) -> None:
    model = make(q_lora_rank=q_lora_rank)
    prompt = tokens(1, 10)[0].tolist()
    new = generate(model, prompt, max_new_tokens=8, vocab_limit=300)
    text = list(prompt)
    for token in new:
        logits = model.logits(model.hidden_states(torch.tensor([text])))[0, -1, :300]
        assert token == int(logits.argmax())
        text.append(token)
    assert len(new) == 8
    stopped = generate(model, prompt, max_new_tokens=8, vocab_limit=300, stop_ids={new[3]})
    assert stopped == new[: new.index(new[3])]
    with pytest.raises(ValueError, match="BOS"):
        generate(model, [], max_new_tokens=1)


def test_grouped_experts_equal_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    n_experts, d, f, n_tokens, k = 8, 32, 16, 50, 3

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    x, gate_up, down = draw(n_tokens, d), draw(n_experts, 2 * f, d), draw(n_experts, d, f)
    weights, upstream = draw(n_tokens, k), draw(n_tokens, d).detach()
    scores = torch.rand(n_tokens, n_experts, generator=generator)
    scores[:, 5] = -1  # an expert without any token
    p = plan(scores.topk(k).indices, n_experts)
    assert int(p.counts_E[5]) == 0
    inputs = (x, weights, gate_up, down)
    ours, reference = grouped(*inputs, p), loop(*inputs, p)
    torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(reference, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-5)


def router(
    small, logits_E: list[float], bias_E: list[float], **over
) -> tuple[Router, torch.Tensor]:
    """Build a router whose scores for the input [1, 0, …] are the sigmoids of `logits_E`."""
    made = Router(small(n_routed_experts=len(logits_E), **over))
    with torch.no_grad():
        made.weight.zero_()
        made.weight[:, 0] = torch.tensor(logits_E)
        made.e_score_correction_bias.copy_(torch.tensor(bias_E))
    return made, F.one_hot(torch.tensor([0]), 64).float()


def test_bias_steers_the_choice_but_not_the_weights(small) -> None:
    made, x = router(
        small, [2.0, 1.0, 0.0, -1.0], [-1, 0, 0, 1], num_experts_per_tok=2,
        routed_scaling_factor=2.5,
    )  # fmt: skip
    routing = made(x)
    scores = torch.sigmoid(torch.tensor([2.0, 1.0, 0.0, -1.0]))
    order = routing.experts_SK[0].argsort()
    assert routing.experts_SK[0][order].tolist() == [1, 3]
    chosen = scores[[1, 3]]
    torch.testing.assert_close(routing.weights_SK[0][order], 2.5 * chosen / chosen.sum())


def test_groups_rank_by_the_sum_of_their_two_best(small) -> None:
    # Group 0 has the best single expert, group 1 the best pair.
    made, x = router(
        small, [3.0, -3.0, -3.0, 1.0, 1.0, -3.0], [0.0] * 6, num_experts_per_tok=2, n_group=2,
        topk_group=1,
    )  # fmt: skip
    assert sorted(made(x).experts_SK[0].tolist()) == [3, 4]


def test_closed_groups_stay_closed_when_biased_scores_are_negative(small) -> None:
    made, x = router(
        small, [0.0] * 6, [-2.0, -2.0, -2.0, -3.0, -3.0, -3.0], num_experts_per_tok=3, n_group=2,
        topk_group=1,
    )  # fmt: skip
    assert sorted(made(x).experts_SK[0].tolist()) == [0, 1, 2]


def test_router_works_in_fp32_whatever_the_model_is_cast_to(make, tokens) -> None:
    model = make()
    gate = model.model.layers[1].mlp.gate
    exact = gate.e_score_correction_bias.clone()
    model.bfloat16()
    assert gate.weight.dtype == torch.bfloat16
    assert torch.equal(gate.e_score_correction_bias, exact)
    routing = gate(torch.ones(2, 64, dtype=torch.bfloat16))
    assert routing.scores_SE.dtype == routing.weights_SK.dtype == torch.float32
    assert torch.isfinite(model.hidden_states(tokens(2, 16))).all()


def test_balance_loss_is_one_when_even_and_grows_when_not() -> None:
    even = torch.full((8, 4), 0.5)
    choices = torch.tensor([[0, 1], [2, 3]]).repeat(4, 1)
    torch.testing.assert_close(sequence_balance_loss(even, choices, 2), torch.tensor(1.0))
    skewed = torch.tensor([0.9, 0.9, 0.1, 0.1]).repeat(8, 1)
    to_two = torch.tensor([[0, 1]]).repeat(8, 1)
    torch.testing.assert_close(sequence_balance_loss(skewed, to_two, 2), torch.tensor(1.8))


def test_biases_follow_the_load(make, tokens) -> None:
    model = make()
    before = {n: b.clone() for n, b in model.named_buffers() if n.endswith("correction_bias")}
    for seed in range(3):
        model(tokens(2, 40, seed))
    model.eval()(tokens(2, 40, 9))  # evaluation does not count
    counts = expert_load(model)
    assert [int(c.sum()) for c in counts.values()] == [3 * 2 * 40 * 4] * 2
    summed = update_router_biases(model, 0.01, lambda counts_LE: counts_LE.mul_(2))
    for name, load in counts.items():
        assert torch.equal(summed[name], 2 * load)
        steps = 0.01 * torch.sign(load.float().mean() - load.float())
        bias = model.get_buffer(f"{name}.gate.e_score_correction_bias")
        torch.testing.assert_close(bias, before[f"{name}.gate.e_score_correction_bias"] + steps)
    assert all(int(c.sum()) == 0 for c in expert_load(model).values())


def test_biases_even_out_the_load(make, tokens) -> None:
    def spread(updates: int) -> float:
        model = make(seed=3)
        for _ in range(updates + 1):
            model(tokens(8, 64))
            load = next(iter(expert_load(model).values())).float()
            update_router_biases(model, 0.02)
        return float(load.max() / load.mean())

    assert spread(40) < 1.3 < spread(0)


@pytest.mark.parametrize("vocab", [50, 9000])
def test_cross_entropy_equals_torch(vocab) -> None:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(3000, 16, generator=generator).requires_grad_()
    weight = torch.randn(vocab, 16, generator=generator).requires_grad_()
    labels = torch.randint(vocab, (3000,), generator=generator)
    labels[::7] = -100
    mean, losses = linear_cross_entropy(h, weight, labels)
    reference = F.cross_entropy(h @ weight.t(), labels, reduction="none")
    torch.testing.assert_close(losses, reference.detach())
    expected = reference.sum() / (labels != -100).sum()
    torch.testing.assert_close(mean, expected)
    for mine, theirs in zip(
        torch.autograd.grad(3 * mean, (h, weight)),
        torch.autograd.grad(3 * expected, (h, weight)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_no_labels_at_all_give_a_loss_of_zero(make, tokens) -> None:
    model = make(mtp={"depth": 1}, balance={"seq_aux_weight": 0.0})
    tokens_BT = tokens(1, 8)
    out = model(tokens_BT, labels_BT=torch.full_like(tokens_BT, -100))
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_norm_gradients_equal_torch() -> None:
    norm = RMSNorm(32, 1e-6)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    upstream = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(2))
    ours, reference = norm(x), F.rms_norm(x, (32,), norm.weight, 1e-6)
    torch.testing.assert_close(ours, reference)
    inputs = (x, norm.weight)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(reference, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_changes_nothing(make, tokens) -> None:
    tokens_BT = tokens(2, 48)
    grads, loads = [], []
    for recompute in (False, True):
        model = make(activation_checkpointing=recompute, mtp={"depth": 1})
        model(tokens_BT, labels_BT=tokens_BT.roll(-1, 1)).loss.backward()
        grads.append([p.grad for p in model.parameters()])
        loads.append(expert_load(model))
    for plain, again in zip(*grads, strict=True):
        assert torch.equal(plain, again)
    assert all(torch.equal(loads[0][name], loads[1][name]) for name in loads[0])


@pytest.mark.parametrize("input_norm", ["pre_norm", "post_norm"])
def test_mtp_predicts_the_token_after_the_next(make, tokens, input_norm) -> None:
    """Recompute depth 1 by hand."""
    model = make(mtp={"depth": 1, "input": input_norm, "loss_weight": 0.5})
    tokens_BT = tokens(2, 20)
    labels_BT = torch.full_like(tokens_BT, -100)
    labels_BT[:, :-1] = tokens_BT[:, 1:]
    out = model(tokens_BT, labels_BT=labels_BT)
    x = model.model.embed_tokens(tokens_BT)
    h, packing = x, model.packing(tokens_BT, None)
    for block in model.model.layers:
        h, _ = block(h, packing)
    if input_norm == "post_norm":
        h = model.model.norm(h)
    depth, short = model.mtp[0], model.packing(tokens_BT[:, :18], None)
    joined = torch.cat([depth.enorm(x[:, 1:19]), depth.hnorm(h[:, :18])], dim=-1)
    y, _ = depth(depth.eh_proj(joined), short)
    logits = model.logits(depth.shared_head.norm(y))
    expected = F.cross_entropy(logits.flatten(0, 1), tokens_BT[:, 2:].flatten())
    torch.testing.assert_close(out.parts["mtp"], expected.detach(), atol=1e-5, rtol=0)
    total = out.parts["ce"] + 0.5 * out.parts["mtp"] + 1e-4 * 3 * out.parts["balance"]
    torch.testing.assert_close(out.loss.detach(), total)


@pytest.mark.parametrize("packed", [False, True])
def test_chunks_of_queries_equal_the_fused_kernel(packed) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, 600, 24, generator=generator).requires_grad_() for _ in range(2))
    v = torch.randn(2, 3, 600, 16, generator=generator).requires_grad_()
    upstream = torch.randn(2, 3, 600, 16, generator=generator)
    positions_BT = torch.arange(600).remainder(250).expand(2, 600)
    bias = attention_bias(positions_BT, torch.float32) if packed else None
    ours, reference = (f(q, k, v, bias, 0.3) for f in (chunked, sdpa))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (q, k, v), upstream),
        torch.autograd.grad(reference, (q, k, v), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=0)


def test_rotation_is_undone_by_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 3, 8, generator=generator).requires_grad_()
    angles = torch.randn(2, 5, 1, 4, generator=generator)
    turned = rotate(x, angles.cos(), angles.sin())
    pairs = torch.view_as_complex(x.detach().unflatten(-1, (4, 2)).contiguous())
    expected = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(turned, torch.cat([expected.real, expected.imag], dim=-1))
    (back,) = torch.autograd.grad(turned, x, turned.detach())
    torch.testing.assert_close(back, x.detach())
