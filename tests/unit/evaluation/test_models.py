import json

import numpy as np
import pytest

from openseek.errors import DataError
from openseek.evaluation.models import kind_of, load_codec, load_model
from openseek.evaluation.scorer import Request, score
from openseek.model import export_hf, load_native


def test_an_exported_model_scores_as_the_original(tmp_path, model, tokenizer):
    export_hf(load_native(model), tokenizer, tmp_path)
    assert (kind_of(model), kind_of(tmp_path)) == ("native", "hf")
    rng = np.random.default_rng(0)
    requests = [Request(rng.integers(0, 400, n).tolist(), n // 2) for n in (7, 30, 12)]
    own, exported = (
        [s.logprobs for s in score(load_model(folder), requests, batch_tokens=64)]
        for folder in (model, tmp_path)
    )
    for a, b in zip(own, exported, strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    codecs = load_codec(tokenizer), load_codec(tmp_path, "hf")
    assert codecs[0].encode(["The river.", "春天"]) == codecs[1].encode(["The river.", "春天"])
    assert codecs[0].start == codecs[1].start


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"config\.json"):
        kind_of(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert kind_of(tmp_path) == "hf"
