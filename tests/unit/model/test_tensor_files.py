from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from openseek.model.tensor_files import PYTORCH, Slot, TensorFile, write_tensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.ones(4, dtype=torch.bfloat16),
    "é": torch.zeros(0, 5),
    "c": torch.arange(3),
}
SLOTS = [Slot(name, t.dtype, tuple(t.shape)) for name, t in TENSORS.items()]


@pytest.mark.parametrize(
    "order", [("a", "b", "c", "é"), ("é", "c", "b", "a"), ("b", "é", "a", "c")]
)
def test_tensors_in_any_order_make_the_file_of_the_library(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    with TensorFile(tmp_path / "mine", SLOTS) as file:
        for name in order:
            file.put(name, TENSORS[name].split(2) if name == "a" else [TENSORS[name]])
    save_file(TENSORS, tmp_path / "theirs", metadata=PYTORCH)
    write_tensors(tmp_path / "at-once", TENSORS)
    mine, theirs, at_once = (
        (tmp_path / n).read_bytes() for n in ("mine", "theirs", "at-once")
    )  # fmt: skip
    assert mine == theirs == at_once


def test_a_tensor_that_never_comes_is_an_error(tmp_path: Path) -> None:
    missing = pytest.raises(AssertionError, match=r"never written: .*'c'")
    with missing, TensorFile(tmp_path / "file", SLOTS) as file:
        file.put("a", [TENSORS["a"]])


def test_a_tensor_that_is_too_small_is_an_error(tmp_path: Path) -> None:
    short = pytest.raises(AssertionError, match="b: 12 of 24 bytes")
    with short, TensorFile(tmp_path / "file", SLOTS) as file:
        file.put("b", [TENSORS["b"][:1]])
