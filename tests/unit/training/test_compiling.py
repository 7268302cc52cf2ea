from __future__ import annotations

import copy

import engine_runs
import pytest
import torch
import training_small as small
from pydantic import ValidationError

from openseek.config.model import ModelConfig
from openseek.model import build_model
from openseek.training.compiling import compile_layers


@pytest.mark.slow
def test_compiled_layers_give_the_same_loss_and_gradients():
    fields = {**engine_runs.MODEL, "num_hidden_layers": 2, "mtp": {"depth": 0}}
    plain = build_model(ModelConfig.model_validate(fields), seed=1)
    compiled = copy.deepcopy(plain)
    # Traced and differentiated ahead of time, but run by torch: a compiler takes minutes here.
    compile_layers(compiled, backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    tokens_BT = torch.randint(
        small.VOCAB, (2, small.SEQ_LEN + 1), generator=torch.Generator().manual_seed(0)
    )
    losses = []
    for model in (plain, compiled):
        out = model(tokens_BT[:, :-1], labels_BT=tokens_BT[:, 1:])
        out.loss.backward()
        losses.append(out.loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_compiling_with_zero_3_is_refused():
    with pytest.raises(ValidationError, match="compile does not go with zero_stage=3"):
        engine_runs.train_config(compile=True, zero_stage=3)
