"""Checkpoints from folder to folder: names, FP8, shards, copies, errors, kills, memory, S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from openseek.artifacts.files import sha256_file
from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig, ModelConfig
from openseek.errors import ConfigError, DataError
from openseek.model import (
    export_folder,
    import_folder,
    import_hf,
    load_native,
    save_native,
)
from openseek.model.conversion_plan import layout
from openseek.model.fp8 import RELATIVE_ERROR, dequantise, quantise
from openseek.model.hf_names import hf_parts, is_linear
from openseek.model.native import expert_range, read_experts, read_weights

SHARD = 40_000
INDEX = "model.safetensors.index.json"


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


@pytest.fixture
def native(make, tmp_path: Path) -> Callable[..., Path]:
    def write(dtype: torch.dtype = torch.float32, **over: Any) -> Path:
        save_native(make(**over), tmp_path / "native", dtype=dtype)
        return tmp_path / "native"

    return write


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    "over", [{}, {"tie_word_embeddings": True, "q_lora_rank": 48, "mtp": {"depth": 2}}]
)
def test_import_of_an_export_is_the_model_bit_by_bit(
    native, tokenizer_folder, tmp_path: Path, dtype, stacked, over
) -> None:
    ours = native(dtype, **over)
    options = {"dtype": "stored", "mtp": True, "max_shard_bytes": SHARD, "stacked_experts": stacked}
    export_folder(str(ours), tokenizer_folder, str(tmp_path / "hf"), ExportConfig(**options))
    assert len(list((tmp_path / "hf").glob("model-*-of-*.safetensors"))) > 3
    back = tmp_path / "back"
    import_folder(str(tmp_path / "hf"), str(back), ImportConfig(max_shard_bytes=SHARD))
    assert (back / INDEX).is_file()
    assert same(read_weights(back), read_weights(ours))
    assert config_of(back) == config_of(ours) | {"balance": config_of(back)["balance"]}
    whole = tmp_path / "whole"
    import_folder(str(tmp_path / "hf"), str(whole))
    name = "model.safetensors"
    assert sha256_file(whole / name) == sha256_file(ours / name)


def test_names_and_shapes_are_those_that_transformers_saves(native, tmp_path: Path) -> None:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    export_folder(str(native()), None, str(tmp_path / "hf"), ExportConfig(dtype="float32"))
    torch.manual_seed(0)
    theirs = DeepseekV3ForCausalLM(DeepseekV3Config.from_pretrained(tmp_path / "hf"))
    theirs.save_pretrained(tmp_path / "theirs")
    saved, ours = (load_file(tmp_path / f / "model.safetensors") for f in ("theirs", "hf"))
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in saved.items()}
    import_folder(str(tmp_path / "theirs"), str(tmp_path / "back"))  # and theirs become ours
    weights = read_weights(tmp_path / "back")
    up = saved["model.layers.1.mlp.experts.5.up_proj.weight"]
    assert torch.equal(weights["model.layers.1.mlp.experts.gate_up_proj"][5][32:], up)
    for stacked in (False, True):
        options = ExportConfig(dtype="float32", stacked_experts=stacked, max_shard_bytes=SHARD)
        export_folder(str(tmp_path / "back"), None, str(tmp_path / f"again{stacked}"), options)
        again = DeepseekV3ForCausalLM.from_pretrained(tmp_path / f"again{stacked}")
        assert same(dict(again.state_dict()), dict(theirs.state_dict()))


def test_bytes_are_those_of_the_safetensors_library(native, tmp_path: Path) -> None:
    ours = native(torch.bfloat16)
    options = ExportConfig(dtype="stored", fp8=True)
    export_folder(str(ours), None, str(tmp_path / "hf"), options)
    path = tmp_path / "hf" / "model.safetensors"
    save_file(load_file(path), tmp_path / "library", metadata={"format": "pt"})
    assert sha256_file(path) == sha256_file(tmp_path / "library")


WIDE = {"hidden_size": 320, "kv_lora_rank": 272, "moe_intermediate_size": 160, "q_lora_rank": 48}


def test_fp8_blocks_are_ragged_multiplied_and_within_the_bound(native, tmp_path: Path) -> None:
    ours = native(torch.bfloat16, num_hidden_layers=2, n_routed_experts=8, **WIDE)
    export_folder(
        str(ours), None, str(tmp_path / "hf"), ExportConfig(fp8=True, max_shard_bytes=900_000)
    )
    stored, model = read_weights(tmp_path / "hf"), load_native(ours)
    name = "model.layers.1.self_attn.kv_a_proj_with_mqa.weight"
    weight, scale = stored[name], stored[name + "_scale_inv"]
    assert (weight.dtype, scale.dtype) == (torch.float8_e4m3fn, torch.float32)
    assert (weight.shape, scale.shape) == ((288, 320), (3, 3))
    naive = torch.empty(288, 320)  # block by block, as the format is described
    for i in range(3):
        for j in range(3):
            rows, columns = slice(i * 128, (i + 1) * 128), slice(j * 128, (j + 1) * 128)
            naive[rows, columns] = weight[rows, columns].float() * scale[i, j]
    assert torch.equal(dequantise(weight, scale), naive)
    assert torch.equal(dequantise(weight[200:], scale, first_row=200), naive[200:])
    import_folder(str(tmp_path / "hf"), str(tmp_path / "back"))
    back, before = read_weights(tmp_path / "back"), read_weights(ours)
    assert torch.equal(back[name], naive.bfloat16())
    for key, tensor in before.items():
        if not any(is_linear(p.name) for p in hf_parts(key, tuple(tensor.shape), model.config)):
            assert torch.equal(back[key], tensor), key
            continue
        gap = (back[key].float() - tensor.float()).abs()
        tiny = tensor.abs().max() / 448 * 2.0**-9  # half a step of e4m3 below its normal range
        assert bool((gap <= (RELATIVE_ERROR + 2**-8) * tensor.float().abs() + tiny).all()), key
    assert config_of(tmp_path / "hf")["quantization_config"]["weight_block_size"] == [128, 128]
    # What was FP8 once is FP8 exactly: a second round changes nothing.
    export_folder(str(tmp_path / "back"), None, str(tmp_path / "hf2"), ExportConfig(fp8=True))
    import_folder(str(tmp_path / "hf2"), str(tmp_path / "back2"))
    assert torch.equal(read_weights(tmp_path / "back2")[name], back[name])


def test_fp8_of_zeros_and_of_one_huge_value() -> None:
    weight = torch.zeros(130, 200)
    weight[129, 199] = 3e38
    quantised, scale = quantise(weight)
    assert scale.shape == (2, 2)
    assert torch.equal(scale[0], torch.ones(2))
    back = dequantise(quantised, scale)
    assert bool(back.isfinite().all())
    torch.testing.assert_close(back, weight, rtol=1e-6, atol=0)


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.fixture
def hf(native, tmp_path: Path) -> Callable[..., Path]:
    def write(**over: Any) -> Path:
        out = tmp_path / "hf"
        export_folder(str(native(**over)), None, str(out), ExportConfig(dtype="stored", mtp=True))
        return out

    return write


EXPERT = "model.layers.2.mlp.experts.7.up_proj.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(EXPERT), rf"{EXPERT}: expected \[32, 64\], found nothing"),
        (
            lambda w: w.update({EXPERT: w[EXPERT][:, :9].contiguous()}),
            r"expected .*found \[32, 9\]",
        ),
        (
            lambda w: w.update({"model.layers.0.bias": torch.ones(2)}),
            r"layers\.0\.bias.*unexpected",
        ),
        (
            lambda w: w.update({EXPERT.replace(".7.", ".16."): w[EXPERT].clone()}),
            r"experts\.16\..*unexpected.*n_routed_experts",
        ),
        (
            lambda w: w.update({EXPERT: w[EXPERT].to(torch.float8_e4m3fn)}),
            r"up_proj.weight_scale_inv is missing, expected \[1, 1\].*128x128",
        ),
        (
            lambda w: w.update({"model.layers.3.embed_tokens.weight": torch.ones(320, 64)}),
            r"should be a copy of model\.embed_tokens\.weight, but differs",
        ),
        (
            lambda w: w.pop("model.layers.3.enorm.weight"),
            r"model\.layers\.3\.enorm\.weight: expected \[64\], found nothing",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(hf, tmp_path: Path, change, message) -> None:
    folder = hf(mtp={"depth": 1})
    edit(folder, change)
    with pytest.raises(DataError, match=message) as error:
        import_folder(str(folder), str(tmp_path / "out"))
    assert str(folder) in error.value.where
    assert error.value.mend
    assert not (tmp_path / "out").exists()  # refused before a byte was written


def test_damaged_files_are_refused_by_name(native, tmp_path: Path) -> None:
    hf = tmp_path / "hf"
    export_folder(str(native()), None, str(hf), ExportConfig(max_shard_bytes=SHARD))
    shard = sorted(hf.glob("model-*.safetensors"))[1]
    whole = shard.read_bytes()
    for cut, message in ((5, "ends early"), (50, "within its header"), (-9, "it ends before")):
        shard.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=rf"{shard.name}.*{message}"):
            import_folder(str(hf), str(tmp_path / "out"))
    shard.write_bytes(whole)
    index = json.loads((hf / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = shard.name
    (hf / INDEX).write_text(json.dumps(index))
    with pytest.raises(DataError, match=rf"model\.norm\.weight is not in {shard.name}"):
        import_folder(str(hf), str(tmp_path / "out"))


def test_a_tied_head_may_be_stored_twice_if_equal(hf, tmp_path: Path) -> None:
    folder = hf(tie_word_embeddings=True)
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit(folder, lambda w: w.update({"lm_head.weight": embedding.clone()}))
    assert import_folder(str(folder), str(tmp_path / "a")).tie_word_embeddings
    assert "lm_head.weight" not in read_weights(tmp_path / "a")
    edit(folder, lambda w: w.update({"lm_head.weight": embedding + 1e-3}))
    with pytest.raises(DataError, match=r"lm_head\.weight should be a copy.*tie_word_embeddings"):
        import_folder(str(folder), str(tmp_path / "b"))


def test_mtp_layers_can_be_left_out_and_rotary_tables_are(hf, tmp_path: Path) -> None:
    folder = hf(mtp={"depth": 2})
    edit(
        folder, lambda w: w.update({"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    )
    assert import_folder(str(folder), str(tmp_path / "two")).mtp.depth == 2
    assert import_folder(str(folder), str(tmp_path / "no"), ImportConfig(mtp=False)).mtp.depth == 0
    config = config_of(folder) | {"num_hidden_layers": 2}  # a layer too many is no MTP layer
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="is unexpected"):
        import_folder(str(folder), str(tmp_path / "other"))


def test_a_padded_vocabulary(hf, tmp_path: Path) -> None:
    """The config says 310, 320 rows are stored; 384 are wanted, then 310 again."""
    folder = hf()
    (folder / "config.json").write_text(json.dumps(config_of(folder) | {"vocab_size": 310}))
    model = import_folder(str(folder), str(tmp_path / "a"), ImportConfig(pad_vocab=128))
    assert model.vocab_size == 384
    stored, before = read_weights(tmp_path / "a"), load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(stored[name][:320], before[name])
        assert not stored[name][320:].any()
    options = ExportConfig(dtype="stored", vocab_size=310)
    export_folder(str(tmp_path / "a"), None, str(tmp_path / "b"), options)
    again = load_file(tmp_path / "b" / "model.safetensors")
    assert torch.equal(again["lm_head.weight"], before["lm_head.weight"][:310])
    assert config_of(tmp_path / "b")["vocab_size"] == 310
    with pytest.raises(ConfigError, match="vocab_size=999 exceeds"):
        export_folder(str(tmp_path / "a"), None, str(tmp_path / "c"), ExportConfig(vocab_size=999))


def test_tokenizer_and_generation_config_come_along(native, tokenizer_folder, tmp_path) -> None:
    hf = tmp_path / "hf"
    export_folder(str(native()), tokenizer_folder, str(hf))
    generation = {"do_sample": True, "temperature": 0.7, "eos_token_id": 2, "bos_token_id": 1}
    (hf / "generation_config.json").write_text(json.dumps(generation))
    back = tmp_path / "back"
    import_folder(str(hf), str(back))
    tokens = {n: (back / n).read_bytes() for n in ("tokenizer.json", "tokenizer_config.json")}
    assert tokens["tokenizer.json"] == (tokenizer_folder / "tokenizer.json").read_bytes()
    export_folder(str(back), back, str(tmp_path / "again"))
    again = json.loads((tmp_path / "again" / "generation_config.json").read_text())
    assert again == generation | {"pad_token_id": 0}
    assert config_of(tmp_path / "again")["eos_token_id"] == 2
    (hf / "generation_config.json").write_text('{"do_sample": true,}')  # as OpenSeek publishes it
    import_folder(str(hf), str(tmp_path / "lenient"))
    assert not (tmp_path / "lenient" / "generation_config.json").exists()


KILLED = """
import os, signal, sys
from openseek.config.conversion import ImportConfig
from openseek.model import import_folder
source, out, shard, after = sys.argv[1:]
seen = 0
def tell(file, done, total):
    global seen
    seen += 1
    if seen == int(after):
        os.kill(os.getpid(), signal.SIGKILL)
import_folder(source, out, ImportConfig(max_shard_bytes=int(shard)), tell)
"""


def test_a_killed_conversion_goes_on(hf, tmp_path: Path) -> None:
    folder, out = hf(), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(folder), str(out), str(SHARD), "60"]
    assert subprocess.run(command, check=False, env=os.environ).returncode == -signal.SIGKILL
    state = json.loads((out / ".conversion.json").read_text())
    done = {name: (out / name).stat().st_mtime_ns for name in state["shards"]}
    assert done
    assert list(out.glob(".*.partial"))
    assert not (out / "config.json").exists()
    written = set()
    options = ImportConfig(max_shard_bytes=SHARD)
    import_folder(str(folder), str(out), options, lambda file, *_: written.add(file))
    assert written
    assert not written & done.keys()
    assert {name: (out / name).stat().st_mtime_ns for name in done} == done
    assert not list(out.glob(".*.partial"))
    import_folder(str(folder), str(tmp_path / "whole"), options)
    assert same(read_weights(out), read_weights(tmp_path / "whole"))
    import_folder(str(folder), str(out), options, lambda *_: pytest.fail("all is there"))
    with pytest.raises(ConfigError, match="not this conversion's"):
        import_folder(str(folder), str(out), ImportConfig(max_shard_bytes=SHARD * 2))
    with pytest.raises(ConfigError, match="not this conversion's"):
        export_folder(str(out), None, str(folder))


GROWTH = r"""
import re, sys
import torch, openseek.model.convert as convert
from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig
torch.set_num_threads(1)
def peak():  # of this process: ru_maxrss would begin with that of the one that started it
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
native, scratch = sys.argv[1:]
from openseek.model.conversion_plan import layout
from openseek.config.model import ModelConfig
import json, pathlib
layout(ModelConfig.model_validate(json.loads(pathlib.Path(native, "config.json").read_text())))
before = peak()
convert.export_folder(native, None, scratch + "/hf", ExportConfig(fp8=True, max_shard_bytes=10**8))
convert.import_folder(scratch + "/hf", scratch + "/back", ImportConfig(dtype="float32"))
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_is_bounded_by_rows_not_by_tensors(make, tmp_path: Path) -> None:
    wide = {"hidden_size": 512, "moe_intermediate_size": 512, "n_routed_experts": 64}
    save_native(make(num_hidden_layers=2, **wide), tmp_path / "native")
    size = (tmp_path / "native" / "model.safetensors").stat().st_size
    largest = 4 * 64 * 2 * 512 * 512
    assert size > 200_000_000
    assert largest > 130_000_000
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "native"), str(tmp_path)]
    grown = int(subprocess.run(command, check=True, capture_output=True, env=os.environ).stdout)
    assert grown < largest / 4


def test_experts_are_read_for_any_number_of_ranks(native, tmp_path: Path) -> None:
    """A checkpoint holds full tensors by name: ranks read their rows, by global expert number."""
    folder = native(torch.bfloat16)
    name = "model.layers.1.mlp.experts.gate_up_proj"
    whole = read_weights(folder)[name]
    for ep in (1, 2, 4, 8):
        shares = [read_experts(folder, name, expert_range(16, ep, rank)) for rank in range(ep)]
        assert {share.shape[0] for share in shares} == {16 // ep}
        assert torch.equal(torch.cat(shares), whole)
    with pytest.raises(ConfigError, match="16 experts, ep_size=3"):
        expert_range(16, 3, 0)


def test_a_checkpoint_in_a_file_per_expert_rank_becomes_whole(hf, tmp_path: Path) -> None:
    folder = hf()
    expected = import_hf(folder).state_dict()
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    rank = {
        n: int(n.split(".experts.")[1].split(".")[0]) // 4 if ".experts." in n else 0
        for n in weights
    }
    for r in range(4):
        part = {n: t for n, t in weights.items() if rank[n] == r}
        save_file(part, folder / f"ep-{r}.safetensors")
    (folder / INDEX).write_text(
        json.dumps({"weight_map": {n: f"ep-{r}.safetensors" for n, r in rank.items()}})
    )
    assert same(dict(import_hf(folder).state_dict()), dict(expected))


def test_every_preset_maps_onto_names_of_its_own() -> None:
    for preset in ("demo", "openseek-small-v1", "deepseek-v3"):
        config = ModelConfig(preset=preset).with_vocab(4096)
        shapes = layout(config)
        theirs = [part.name for n, s in shapes.items() for part in hf_parts(n, s, config)]
        assert len(set(theirs)) == len(theirs)
    assert len(theirs) > 45_000  # DeepSeek-V3: 58 layers and MTP with 256 experts of three matrices


@pytest.mark.s3
def test_over_s3(native, tokenizer_folder, tmp_path: Path, s3_env: str) -> None:
    ours = native(torch.bfloat16)
    options = ExportConfig(max_shard_bytes=SHARD)
    export_folder(str(ours), tokenizer_folder, f"{s3_env}/hf", options)
    import_folder(f"{s3_env}/hf", f"{s3_env}/native", ImportConfig(max_shard_bytes=SHARD))
    again = ImportConfig(max_shard_bytes=SHARD)
    import_folder(f"{s3_env}/hf", f"{s3_env}/native", again, lambda *_: pytest.fail("all is there"))
    import_folder(f"{s3_env}/hf", str(tmp_path / "local"))
    assert same(read_weights(tmp_path / "local"), read_weights(ours))
    name = "model.layers.2.mlp.experts.down_proj"
    share = read_experts(f"{s3_env}/native", name, expert_range(16, 4, 3))
    assert torch.equal(share, read_weights(ours)[name][12:])
