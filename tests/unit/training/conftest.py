from __future__ import annotations

import pytest
import training_small as small

from openseek.training import launch


@pytest.fixture(scope="session", autouse=True)
def _no_spawner_left():
    yield
    launch.close()


@pytest.fixture(scope="session")
def inputs_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    small.write_inputs(root / "data")
    return root / "data"


@pytest.fixture(scope="session")
def uninterrupted(inputs_root, tmp_path_factory):
    """The output folder and metrics of a run of two ranks without interruption."""
    out = tmp_path_factory.mktemp("whole") / "out"
    metrics = small.run(small.step_config(), small.open_inputs(inputs_root), out)
    return out, metrics
