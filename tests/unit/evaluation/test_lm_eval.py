"""The lm-eval backend: refused where it cannot work, equal where it is installed."""

import importlib.util

import pytest
import torch

from openseek.config.evaluation import EvaluationConfig
from openseek.errors import ConfigError
from openseek.evaluation import lm_eval_backend
from openseek.evaluation.computing import compute
from openseek.evaluation.lm_eval_backend import LmEval, check_installed
from openseek.evaluation.models import load_codec, load_model
from openseek.evaluation.samples import Sample
from openseek.model import export_hf, load_native

from .conftest import NOUNS, prose

INSTALLED = importlib.util.find_spec("lm_eval") is not None


def test_our_own_format_is_refused_with_the_way_out(model, tokenizer):
    with pytest.raises(ConfigError, match="Export it"):
        LmEval(model, tokenizer, EvaluationConfig(backend="lm-eval"), "cpu")


def test_a_missing_or_other_version_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lm_eval_backend, "VERSION", "99.")
    with pytest.raises(ConfigError, match=r"pip install lm-eval==0\.4\.13"):
        check_installed()


@pytest.mark.slow
def test_where_it_is_installed_it_agrees_with_ours(tmp_path, model, tokenizer):
    own = load_native(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in own.parameters():
            p.add_(0.1 * torch.randn_like(p))
    export_hf(own, tokenizer, tmp_path)
    config = EvaluationConfig(backend="lm-eval", batch_tokens=512)
    if not INSTALLED:
        with pytest.raises(ConfigError, match="not installed"):
            LmEval(tmp_path, tmp_path, config, "cpu")
        return
    samples = [
        Sample("choice", prose(i, 3) + " The", tuple(f" {n}" for n in NOUNS[i % 4 : i % 4 + 4]))
        for i in range(12)
    ]
    spans = Sample("choice", "x", ("y", "z"), ((5, 6, 7), ((8, 9), (10,))))
    answers = [Sample("generate", prose(i, 2) + " The", stops=("q",), max_tokens=6) for i in (1, 2)]
    theirs = LmEval(tmp_path, tmp_path, config, "cpu").compute([*samples, spans, *answers])
    codec = load_codec(tmp_path, "hf")
    hf = load_model(tmp_path, device="cpu")
    ours = compute(hf, codec, [*samples, spans, *answers], batch_tokens=512)
    assert theirs[spans.key]["logprobs"] == pytest.approx(ours[spans.key]["logprobs"], abs=1e-3)
    for s in samples:
        assert theirs[s.key]["logprobs"] == pytest.approx(ours[s.key]["logprobs"], abs=1e-3)
        assert theirs[s.key]["tokens"] == ours[s.key]["tokens"]
    for s in answers:
        assert theirs[s.key]["output"].strip() == ours[s.key]["output"].strip()
