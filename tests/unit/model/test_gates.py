"""No export and no import is handed out whose logits differ from transformers'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig
from openseek.config.runtime import RuntimeConfig
from openseek.errors import PermanentError
from openseek.model import convert, export_folder, export_hf, save_native
from openseek.model.gates import export_gate, import_checked
from openseek.model.parity import Case, compare, make_cases
from openseek.model.step import export

WITHIN = 2e-5


def corrupt(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def context(model: Path, tokenizer: Path, out: Path, **config) -> StepContext[ExportConfig]:
    inputs = {"model": FolderFiles(model), "tokenizer": FolderFiles(tokenizer)}
    return StepContext(ExportConfig(**config), inputs, FolderOutput(out), RuntimeConfig())


def test_cases_are_text_of_several_lengths_random_tokens_and_packed_documents(
    make, bpe_folder: Path, tmp_path: Path
) -> None:
    model = make(vocab_size=512, q_lora_rank=48, n_group=4, topk_group=2)
    export_hf(model, bpe_folder, tmp_path)
    cases = make_cases(512, bpe_folder, sequences=3, length=60, seed=0)
    assert [c.name for c in cases] == ["random", "text of 2", "text of 20", "text of 60", "packed"]
    assert len(cases[3].tokens_BT.unique()) > 20  # words, not padding
    found = compare(model, tmp_path, cases)
    assert found.cases.keys() <= {c.name for c in cases}
    assert "packed" in found.cases
    assert found.max_abs < WITHIN
    unpacked = Case("ignored", cases[-1].tokens_BT)
    ours = model.logits(model.hidden_states(unpacked.tokens_BT))
    apart = model.logits(model.hidden_states(cases[-1].tokens_BT, cases[-1].doc_BT))
    assert float((ours - apart).detach().abs().max()) > 0.1  # so the mask is compared, too


@pytest.fixture(scope="session")
def bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from openseek.config.tokens import TokenizerConfig
    from openseek.model.parity import TEXT
    from openseek.tokens import train_bpe

    folder = tmp_path_factory.mktemp("bpe")
    train_bpe([TEXT] * 3, TokenizerConfig(vocab_size=400), folder)
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "stored"},
        {"fp8": True, "mtp": True},
        {"dtype": "float32", "stacked_experts": True, "max_shard_bytes": 40_000},
    ],
)
def test_step_with_every_form(make, bpe_folder, tmp_path: Path, options) -> None:
    over = {"vocab_size": 512, "hidden_size": 160, "mtp": {"depth": 1}}
    save_native(make(**over), tmp_path / "train" / "model")
    metrics = export(context(tmp_path / "train", bpe_folder, tmp_path / "out", **options))
    assert metrics["max_abs_logit_diff"] < 5e-5
    assert set(metrics["logit_diff_by_case"]) >= {"random", "packed"}
    assert json.loads(json.dumps(metrics)) == metrics
    assert not any("conversion" in name for name in metrics["files"])
    if options.get("max_shard_bytes"):
        assert "hf/model.safetensors.index.json" in metrics["files"]


@pytest.mark.parametrize("fp8", [False, True])
def test_step_fails_with_the_figures_when_a_tensor_is_damaged(
    make, bpe_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fp8
) -> None:
    save_native(make(vocab_size=512), tmp_path / "train" / "model")
    whole = convert.export_folder

    def damaged(source: str, tokenizer: Path, out: str, config: ExportConfig):
        model = whole(source, tokenizer, out, config)
        corrupt(Path(out), "model.layers.2.self_attn.o_proj.weight")
        return model

    monkeypatch.setattr(convert, "export_folder", damaged)
    ctx = context(tmp_path / "train", bpe_folder, tmp_path / "out", fp8=fp8)
    figures = r"differs from transformers' by \d\.\d+, more than 0\.0001 \(.*row \d+, position \d+"
    with pytest.raises(PermanentError, match=figures) as error:
        export(ctx)
    assert "packed" in str(error.value)
    assert not (tmp_path / "out" / "hf").exists()


def test_not_a_number_is_no_parity(make, tokenizer_folder, tmp_path: Path) -> None:
    save_native(make(), tmp_path / "native")
    export_folder(str(tmp_path / "native"), None, str(tmp_path / "hf"))
    weights = load_file(tmp_path / "hf" / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "hf" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PermanentError, match="by inf"):
        export_gate(
            tmp_path / "native", None, tmp_path / "hf", ExportConfig(), tmp_path / "scratch", 0
        )


@pytest.fixture
def theirs(make, bpe_folder, tmp_path: Path) -> Callable[..., Path]:
    def write(**options) -> Path:
        save_native(make(vocab_size=512, mtp={"depth": 1}), tmp_path / "native")
        config = ExportConfig(**{"dtype": "float32", "mtp": True} | options)
        export_folder(str(tmp_path / "native"), bpe_folder, str(tmp_path / "hf"), config)
        return tmp_path / "hf"

    return write


@pytest.mark.parametrize("dtype", ["stored", "bfloat16"])
def test_import_is_compared_with_its_source(theirs, tmp_path: Path, dtype) -> None:
    source = theirs()
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "openseek", "auto_map": {"AutoModel": "modeling.Model"}}
    (source / "config.json").write_text(json.dumps(config))  # no code of its own is run
    settings = ImportConfig(dtype=dtype, pad_vocab=96)
    model, parity = import_checked(str(source), str(tmp_path / "out"), settings)
    assert model.vocab_size == 576
    assert parity is not None
    assert parity.max_abs < WITHIN


def test_import_of_other_weights_fails(theirs, tmp_path: Path, monkeypatch) -> None:
    source = theirs()
    import_checked(str(source), str(tmp_path / "a"), ImportConfig())
    from openseek.model import gates

    def damaged(*args):
        model = convert.import_folder(*args)
        corrupt(tmp_path / "b", "model.layers.1.mlp.experts.down_proj")
        return model

    monkeypatch.setattr(gates, "import_folder", damaged)
    with pytest.raises(PermanentError, match="differs from transformers'"):
        import_checked(str(source), str(tmp_path / "b"), ImportConfig())
    assert not (tmp_path / "b" / "config.json").exists()


def test_import_says_when_nothing_is_compared(theirs, tmp_path: Path, caplog) -> None:
    source = theirs(fp8=True)
    _, parity = import_checked(str(source), str(tmp_path / "a"), ImportConfig())
    assert parity is None
    assert "FP8" in caplog.text
    settings = ImportConfig(parity_tokens=0, dtype="float32")
    assert import_checked(str(source), str(tmp_path / "b"), settings)[1] is None
    assert torch.equal(
        *(load_file(tmp_path / f / "model.safetensors")["model.norm.weight"].float() for f in "ab")
    )
