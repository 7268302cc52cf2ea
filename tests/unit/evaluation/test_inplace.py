import json
import random

import pytest
import torch

from openseek.config.evaluation import ClozeConfig, EvaluationConfig
from openseek.evaluation import evaluate_model
from openseek.evaluation.inplace import evaluate_in_place
from openseek.model import load_native

from .test_benchmarks import fetch

CONFIG = EvaluationConfig(
    max_samples=6, cloze=ClozeConfig(items=5, context_tokens=16, choice_tokens=8), processes=1,
    cache="none",
)  # fmt: skip


@pytest.mark.slow
def test_a_model_in_memory_scores_as_its_checkpoint_and_training_goes_on_as_before(
    tmp_path, model, tokenizer, heldout, downloads
):
    fetch(tmp_path / "sets", downloads, tasks=("piqa",), max_samples=0)
    given = {"tokenizer": tokenizer, "heldout": heldout, "benchmarks": tmp_path / "sets"}
    own = load_native(model).train()
    own.model.layers[0].eval()
    modes = [m.training for m in own.modules()]
    states = random.getstate(), torch.get_rng_state()
    found = evaluate_in_place(own, tmp_path / "memory", config=CONFIG, seed=7, **given)
    assert [m.training for m in own.modules()] == modes
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    loss = own(torch.tensor([[1, 2, 3]]), labels_BT=torch.tensor([[2, 3, 4]])).loss
    loss.backward()
    saved = evaluate_model(model, tmp_path / "saved", config=CONFIG, seed=7, **given)
    assert found["scores"] == saved["scores"]
    assert found["bpb"] == saved["bpb"]
    assert json.loads((tmp_path / "memory/scores.json").read_text())["scores"]
