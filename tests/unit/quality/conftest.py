from __future__ import annotations

import pytest
from quality_small import Serial


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> Serial:
    """Run shards without Ray."""
    from openseek.quality import decontamination_step, fluency_pass, step

    runner = Serial()
    monkeypatch.setattr(step, "map_shards", runner)
    monkeypatch.setattr(fluency_pass, "map_shards", runner)
    monkeypatch.setattr(decontamination_step, "map_shards", runner)
    return runner
