from __future__ import annotations

import pytest
from hypothesis import settings
from quality_small import Serial

settings.register_profile("compiled", deadline=None)  # the first example waits for the compiler
settings.load_profile("compiled")


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> Serial:
    """Run shards without Ray."""
    from openseek.quality import decontamination_step, fluency_pass, step

    runner = Serial()
    monkeypatch.setattr(step, "map_shards", runner)
    monkeypatch.setattr(fluency_pass, "map_shards", runner)
    monkeypatch.setattr(decontamination_step, "map_shards", runner)
    return runner
