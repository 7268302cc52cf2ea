"""Nothing is handed out whose logits are not those of its source."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch

from openseek.artifacts.backend import open_backend
from openseek.config.conversion import ImportConfig
from openseek.config.model import ExportConfig, ModelConfig
from openseek.errors import PermanentError
from openseek.model.config import to_hf_config
from openseek.model.convert import CONFIG, Progress, dtype_of, export_tensors, import_folder
from openseek.model.fp8 import E4M3
from openseek.model.hf import import_hf
from openseek.model.hf_names import EMBEDDING, HEAD
from openseek.model.model import OpenSeekModel
from openseek.model.native import from_weights, load_native
from openseek.model.parity import Parity, compare, loadable, make_cases, round_to_fp8
from openseek.model.tensor_files import MemoryTensors, TensorFolder

log = logging.getLogger(__name__)


def export_gate(
    native: Path, tokenizer: Path | None, hf: Path, config: ExportConfig, scratch: Path, seed: int
) -> Parity:
    """Compare a native folder with what was exported from it.

    Our weights are rounded as the export rounds them. transformers cannot load FP8 with ragged
    blocks, nor on a CPU: it then reads a copy in fp32.

    Args:
        native: Our folder.
        tokenizer: Folder to encode real text with; None: random tokens alone.
        hf: The exported folder.
        config: As exported.
        scratch: Local folder for that copy.
        seed: Seed of the random tokens.

    Raises:
        PermanentError: A logit differs by more than the tolerance.
    """
    ours = load_native(native)
    if config.vocab_size:
        ours = _cut(ours, config.vocab_size)
    dtype = dtype_of(config.dtype)
    if config.fp8:
        round_to_fp8(ours, dtype)
        hf = _plain_copy(hf, scratch / "plain")
    elif dtype is not None:
        ours.to(dtype).to(torch.float32)
    length = min(config.parity_length, ours.config.max_position_embeddings)
    cases = make_cases(
        ours.config.vocab_size, tokenizer, sequences=config.parity_sequences, length=length,
        seed=seed,
    )  # fmt: skip
    parity = compare(ours, hf, cases)
    parity.check(config.parity_tolerance, "export")
    return parity


def import_checked(
    source: str, out: str, config: ImportConfig, progress: Progress | None = None
) -> tuple[ModelConfig, Parity | None]:
    """Import a checkpoint and compare its logits with transformers' on the source.

    There is no comparison where transformers cannot load the source (FP8, a URL), nor with
    `parity_tokens=0`.

    Returns:
        The model as it is stored, and the comparison if there was one.

    Raises:
        PermanentError: A logit differs by more than the tolerance; `out` is left without its
            config.json, so that nothing takes it for a model.
    """
    model = import_folder(source, out, config, progress)
    target = open_backend(out)
    folder, native = Path(source), target.local("")
    if not config.parity_tokens or native is None or not folder.is_dir():
        log.warning("logits are not compared: parity_tokens=0, or a folder is not local")
        return model, None
    stored = TensorFolder(open_backend(source)).tensors
    if any(tensor.dtype == E4M3 for tensor in stored.values()):
        log.warning("logits are not compared: transformers does not load FP8 on a CPU")
        return model, None
    tokenizer = native if (native / "tokenizer.json").is_file() else None
    entries = stored[EMBEDDING].shape[0]
    hf = to_hf_config(
        model.model_copy(update={"vocab_size": entries}),
        dtype="float32", mtp=False, bos=None, eos=None, pad=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="openseek-parity-") as scratch:
        plain = loadable(folder, hf, Path(scratch) / "source")
        cases = make_cases(
            entries, tokenizer, sequences=2, length=max(2, config.parity_tokens), seed=0
        )
        parity = compare(load_native(native), plain, cases, dtype=dtype_of(config.dtype))
    try:
        parity.check(config.parity_tolerance, "import")
    except PermanentError:
        target.remove(CONFIG)
        raise
    return model, parity


def _cut(model: OpenSeekModel, entries: int) -> OpenSeekModel:
    weights = {
        name: tensor[:entries].clone() if name in (EMBEDDING, HEAD) else tensor
        for name, tensor in model.state_dict().items()
    }
    config = model.config.model_copy(update={"vocab_size": entries})
    return from_weights(config, weights, torch.float32)


def _plain_copy(hf: Path, folder: Path) -> Path:
    model = import_hf(hf, torch.float32)
    weights = MemoryTensors(model.state_dict())
    plain = ExportConfig(dtype="float32")
    export_tensors(weights, model.config, None, open_backend(str(folder)), plain)
    return folder
