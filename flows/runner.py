"""How the command line starts the flow; found through the entry point `openseek.runners`."""

from __future__ import annotations

from collections.abc import Sequence

from flows.pretrain import pretrain
from openseek.artifacts.files import Json


def run_pipeline(
    config: str,
    *,
    run_name: str,
    overrides: Sequence[str],
    force: Sequence[str],
    fail_at: str,
) -> Json:
    """Run the `pretrain` flow in this process and return its summary."""
    return pretrain(
        config=config,
        run_name=run_name,
        overrides=list(overrides),
        force=list(force),
        fail_at=fail_at,
    )
