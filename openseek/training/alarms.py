"""Raise an alarm for experts that stay dead or overloaded. Pure: counts in, alarms out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openseek.config.monitoring import ExpertAlarmConfig

KINDS = ("dead", "overloaded")


class ExpertAlarm:
    """Count for each expert the steps in a row in which its load was out of bounds.

    The state is part of a checkpoint, so that a resumed run raises the same alarms.

    Args:
        config: Limits.
    """

    def __init__(self, config: ExpertAlarmConfig) -> None:
        self.config = config
        self._runs: dict[str, dict[str, list[int]]] = {kind: {} for kind in KINDS}

    def update(self, load: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
        """Take in a step's tokens per expert and layer, summed over all ranks.

        Returns:
            An alarm {"layer", "kind", "experts"} for each layer in which experts have just been out
            of bounds for the configured number of steps; nothing while they stay there.
        """
        alarms = []
        for layer, counts in load.items():
            total = sum(counts)
            if not total:
                continue
            even = total / len(counts)
            for kind in KINDS:
                out = [self._out(kind, count / even) for count in counts]
                before = self._runs[kind].get(layer, [0] * len(counts))
                runs = [n + 1 if bad else 0 for n, bad in zip(before, out, strict=True)]
                self._runs[kind][layer] = runs
                if experts := [e for e, n in enumerate(runs) if n == self.config.steps]:
                    alarms.append({"layer": layer, "kind": kind, "experts": experts})
        return alarms

    def state(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return self._runs

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self._runs = {kind: dict(state[kind]) for kind in KINDS}

    def _out(self, kind: str, share: float) -> bool:
        if kind == "dead":
            return share < self.config.dead_below
        return 0 < self.config.overloaded_above < share
