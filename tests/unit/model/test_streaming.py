"""Models from folders of any layout, read a few rows at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig
from openseek.errors import ConfigError, CorruptArtifactError, DataError
from openseek.model import export_folder, import_folder, load_native, save_native
from openseek.model.streaming import WeightFolder, load_streamed

SHARD = 40_000


def same(left, right) -> bool:
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("over", [{}, {"tie_word_embeddings": True, "mtp": {"depth": 2}}], ids=str)
def test_any_layout_gives_the_same_model(make, tmp_path: Path, dtype, over) -> None:
    model = make(**over)
    save_native(model, tmp_path / "whole")
    hf = ExportConfig(dtype="stored", mtp=True, max_shard_bytes=SHARD)
    export_folder(str(tmp_path / "whole"), None, str(tmp_path / "hf"), hf)
    import_folder(
        str(tmp_path / "hf"), str(tmp_path / "parts"), ImportConfig(max_shard_bytes=SHARD)
    )
    for name in ("hf", "parts"):
        assert len(list((tmp_path / name).glob("model-*.safetensors"))) > 3
    expected = load_native(tmp_path / "whole", dtype)
    for name in ("whole", "parts", "hf"):
        found = load_streamed(tmp_path / name, model.config, dtype)
        assert same(found, expected), name
        assert all(p.requires_grad for p in found.parameters())
        assert all(not b.any() for n, b in found.named_buffers() if n.endswith("per_expert"))


def test_fp8_and_a_padded_vocabulary(make, tmp_path: Path) -> None:
    model = make(vocab_size=128)
    save_native(model, tmp_path / "native")
    export = ExportConfig(fp8=True, vocab_size=120, max_shard_bytes=SHARD)
    export_folder(str(tmp_path / "native"), None, str(tmp_path / "hf"), export)
    found = load_streamed(tmp_path / "hf", model.config)
    table, expected = found.model.embed_tokens.weight, model.model.embed_tokens.weight
    assert torch.equal(table[:120], expected[:120].bfloat16().float())
    assert not table[120:].any()
    weight = "model.layers.1.mlp.experts.down_proj"
    error = (found.get_parameter(weight) - model.get_parameter(weight)).abs().max()
    assert 0 < error < 0.07 * model.get_parameter(weight).abs().max()


def test_what_does_not_fit_is_refused_by_name(make, tmp_path: Path) -> None:
    model = make()
    save_native(model, tmp_path / "native")
    export_folder(str(tmp_path / "native"), None, str(tmp_path / "hf"), ExportConfig())
    other = make(moe_intermediate_size=24).config
    with pytest.raises(CorruptArtifactError, match=r"experts.down_proj: expected .*24\], found"):
        WeightFolder(tmp_path / "native", other)
    with pytest.raises(DataError, match=r"experts\.0\.\w+\.weight: expected"):
        WeightFolder(tmp_path / "hf", other)
    with pytest.raises(ConfigError, match=r"rope_theta is 5.*says"):
        WeightFolder(tmp_path / "hf", model.config.model_copy(update={"rope_theta": 5.0}))


GROWTH = r"""
import json, pathlib, re, sys, torch
from openseek.config.model import ModelConfig
from openseek.model.streaming import WeightFolder, load_streamed
torch.set_num_threads(1)
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
folder = sys.argv[1]
config = ModelConfig.model_validate(json.loads(pathlib.Path(folder, "config.json").read_text()))
WeightFolder(folder, config).tensor("model.norm.weight")
before = peak()
model = load_streamed(folder, config, torch.bfloat16)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_is_the_model_and_a_piece(make, tmp_path: Path) -> None:
    wide = {"hidden_size": 512, "moe_intermediate_size": 512, "n_routed_experts": 64}
    save_native(make(num_hidden_layers=2, **wide), tmp_path / "native")
    size = (tmp_path / "native" / "model.safetensors").stat().st_size
    assert size > 200_000_000
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "native")]
    grown = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert grown < size  # half of it is the model in bf16; the file at once would be one and a half
