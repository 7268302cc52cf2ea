from __future__ import annotations

from collections.abc import Iterator

import pytest
from synthesis_small import KEY, KEY_ENV, Endpoint


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(KEY_ENV, KEY)
    running = Endpoint()
    yield running
    running.stop()
