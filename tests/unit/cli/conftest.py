from __future__ import annotations

from pathlib import Path

import pytest
from cli_shell import Shell

from openseek.artifacts import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENSEEK_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def openseek(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home / "store"), home / "scratch")
