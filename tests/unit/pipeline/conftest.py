from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder of the test; the store is the configured one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENSEEK_STORE", raising=False)
    return tmp_path
