"""Weights: drawn, saved, loaded, exported, imported; and the export step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openseek.artifacts.context import StepContext
from openseek.artifacts.files import sha256_file
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.model import ExportConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import CorruptArtifactError, DataError, PermanentError
from openseek.model import build_model, export_hf, import_hf, load_native, save_native
from openseek.model.step import export


def equal(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_weights_depend_on_the_seed_alone(small) -> None:
    config = small(mtp={"depth": 1})
    first = build_model(config, seed=5)
    torch.set_num_threads(2)
    torch.manual_seed(99)
    second = build_model(config, seed=5)
    assert equal(first, second)
    assert not equal(first, build_model(config, seed=6))
    assert equal(first.bfloat16(), build_model(config, seed=5, dtype=torch.bfloat16))
    spread = first.model.layers[1].mlp.experts.down_proj.float().std()
    assert abs(spread.item() - config.initializer_range) < 0.01


@pytest.mark.parametrize("tied", [False, True])
def test_native_round_trip(make, tmp_path: Path, tied) -> None:
    model = make(mtp={"depth": 2}, q_lora_rank=48, tie_word_embeddings=tied)
    save_native(model, tmp_path / "a")
    again = load_native(tmp_path / "a")
    assert equal(model, again)
    assert again.config == model.config
    save_native(again, tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert sha256_file(tmp_path / "a" / name) == sha256_file(tmp_path / "b" / name)
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_saving_in_bf16_keeps_router_biases_exact(make, tmp_path: Path) -> None:
    model = make()
    save_native(model, tmp_path, dtype=torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert torch.equal(stored[name], model.get_buffer(name))
    assert stored["model.norm.weight"].dtype == torch.bfloat16
    loaded = load_native(tmp_path, torch.bfloat16)
    assert equal(loaded, model.bfloat16())
    assert loaded(torch.tensor([[1, 2, 3]])).loss is None  # its load counters have storage


def test_damaged_folders_are_refused(make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file config\.json"):
        load_native(tmp_path)
    save_native(make(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    taken = weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CorruptArtifactError, match=r"model\.norm\.weight: expected \[64\], found"):
        load_native(tmp_path)
    save_file({**weights, "model.norm.weight": taken[:10]}, tmp_path / "model.safetensors")
    with pytest.raises(CorruptArtifactError, match=r"found \[10\]"):
        load_native(tmp_path)


@pytest.mark.parametrize("tied", [False, True])
def test_hf_round_trip(make, tokenizer_folder: Path, tmp_path: Path, tied) -> None:
    model = make(mtp={"depth": 1}, tie_word_embeddings=tied, n_group=4, topk_group=2)
    files = export_hf(model, tokenizer_folder, tmp_path / "a", mtp=True)
    export_hf(model, tokenizer_folder, tmp_path / "b", mtp=True)
    for name in files:
        assert sha256_file(tmp_path / "a" / name) == sha256_file(tmp_path / "b" / name)
    assert equal(import_hf(tmp_path / "a"), model)
    export_hf(model, tokenizer_folder, tmp_path / "c")
    assert len(import_hf(tmp_path / "c").mtp) == 0


def test_exported_folder_is_complete(make, tokenizer_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    files = export_hf(make(), tokenizer_folder, tmp_path, dtype=torch.bfloat16)
    assert files == [
        "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 0)
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == 2
    assert AutoTokenizer.from_pretrained(tmp_path)("w7 w9")["input_ids"] == [7, 9]
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "model.layers.1.mlp.experts.15.gate_proj.weight" in names
    assert not any(name.startswith(("mtp.", "model.layers.3")) for name in names)


def test_import_of_what_others_write(make, tokenizer_folder: Path, tmp_path: Path) -> None:
    """Shards with an index, a tied output layer stored twice, rotary tables, promised MTP."""
    model = make(tie_word_embeddings=True, mtp={"depth": 1})
    export_hf(model, tokenizer_folder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, tmp_path / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_nextn_predict_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    imported = import_hf(tmp_path)
    assert imported.config.tie_word_embeddings
    assert len(imported.mtp) == 0
    state = model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in imported.state_dict().items())
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(DataError, match=r"no file model-2\.safetensors"):
        import_hf(tmp_path)


def context(model: Path, tokenizer: Path, out: Path, **config) -> StepContext[ExportConfig]:
    inputs = {"model": FolderFiles(model), "tokenizer": FolderFiles(tokenizer)}
    return StepContext(ExportConfig(**config), inputs, FolderOutput(out), RuntimeConfig())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_step(make, tokenizer_folder: Path, tmp_path: Path, dtype) -> None:
    save_native(make(mtp={"depth": 1}), tmp_path / "train" / "model")
    (tmp_path / "train" / "metrics.jsonl").write_text("{}\n")
    for out in ("a", "b"):
        ctx = context(tmp_path / "train", tokenizer_folder, tmp_path / out, dtype=dtype)
        metrics = export(ctx)
    assert metrics["max_abs_logit_diff"] < 2e-5
    assert metrics["parameters_active"] < metrics["parameters_total"]
    assert metrics["files"][0] == "hf/config.json"
    assert json.loads(json.dumps(metrics)) == metrics
    for name in metrics["files"]:
        assert sha256_file(tmp_path / "a" / name) == sha256_file(tmp_path / "b" / name)
    assert metrics["bytes"] == sum((tmp_path / "a" / n).stat().st_size for n in metrics["files"])


def test_step_publishes_nothing_when_logits_differ(
    make, tokenizer_folder: Path, tmp_path: Path
) -> None:
    save_native(make(), tmp_path / "train" / "model")
    ctx = context(tmp_path / "train", tokenizer_folder, tmp_path / "out", parity_tolerance=1e-12)
    with pytest.raises(PermanentError, match="more than 1e-12"):
        export(ctx)
    assert not (tmp_path / "out" / "hf").exists()


def test_step_refuses_a_tokenizer_of_another_model(make, tokenizer_folder, tmp_path: Path) -> None:
    save_native(make(vocab_size=256), tmp_path / "train" / "model")
    with pytest.raises(DataError, match="300 entries, the model only 256"):
        export(context(tmp_path / "train", tokenizer_folder, tmp_path / "out"))
