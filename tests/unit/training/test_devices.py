from __future__ import annotations

import re
from pathlib import Path

import pytest

import openseek

ROOT = Path(openseek.__file__).parent
# `is_cuda` of a tensor asks where it lives; everything else here binds the code to one vendor.
VENDOR = re.compile(r"\btorch\.(cuda|xpu|npu|mps|hip)\b|\.cuda\(|device\(\s*[\"'](cuda|xpu|npu)")


@pytest.mark.parametrize("package", ["training", "model"])
def test_devices_are_reached_through_the_accelerator_only(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if VENDOR.search(line)
    ]
    assert not found


def test_only_the_engine_and_its_parts_import_deepspeed():
    allowed = {"engine.py", "ds_engine.py", "ds_experts.py", "ds_pipeline.py", "bootstrap.py"}
    importing = re.compile(r"^\s*(import deepspeed|from deepspeed)", re.MULTILINE)
    files = (path for p in ("training", "model") for path in (ROOT / p).rglob("*.py"))
    assert {f.name for f in files if importing.search(f.read_text(encoding="utf-8"))} <= allowed
