"""What the report knows of a run: plain data, JSON in and out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class StepRecord:
    """One step of a run.

    Attributes:
        name: Name in the DAG, e.g. `clean` or `train-foundation`.
        kind: Name without the stage, e.g. `train`.
        state: `done`, `failed` or `pending`.
        key: The artifact's key.
        seconds: Time the attempt took that made the artifact; None when not known.
        inputs: Logical name of an input -> name of the step that made it.
        metrics: What the step returned; a train step has its log as `curve` (a list of rows).
        lineage: Version, digests, attempt, git revision, host and times of the artifact.
        files: Dumped `FileRecord`s.
    """

    name: str
    kind: str = ""
    state: str = "done"
    key: str = ""
    seconds: float | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    metrics: Json = field(default_factory=dict)
    lineage: Json = field(default_factory=dict)
    files: list[Json] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The training stage that the step belongs to, or an empty string."""
        head, dash, tail = self.name.partition("-")
        return tail if dash and head == (self.kind or head) else ""


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as it got.

    Attributes:
        name: Name of the run.
        state: `done`, `failed` or `running`.
        config: The resolved configuration.
        steps: All steps in the order of the DAG.
        started: When the run began, ISO 8601; empty when not known.
        seconds: Wall time of the run; None when not known.
        machine: CPU, memory, package versions and what else describes the machine.
    """

    name: str
    state: str = "done"
    config: Json = field(default_factory=dict)
    steps: list[StepRecord] = field(default_factory=list)
    started: str = ""
    seconds: float | None = None
    machine: Json = field(default_factory=dict)

    def step(self, name: str) -> StepRecord | None:
        """Find a step by its name."""
        return next((s for s in self.steps if s.name == name), None)

    def metrics(self, name: str) -> Json:
        """Return the metrics of a step, empty if the run has no such step."""
        step = self.step(name)
        return step.metrics if step else {}

    def of_kind(self, kind: str) -> Iterator[StepRecord]:
        """Iterate over the steps of a kind in the order of the DAG (one a stage)."""
        return (s for s in self.steps if s.kind == kind)

    def to_json(self) -> Json:
        """Dump as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> RunRecord:
        """Read what `to_json` wrote."""
        steps = [StepRecord(**s) for s in raw.get("steps", [])]
        return cls(**{**raw, "steps": steps})


def dig(data: object, *paths: str) -> Any:
    """Return the first value found under one of the dotted paths, else None.

    Artifacts of older versions, or of steps of somebody else's, may lack any key.
    """
    for path in paths:
        node: Any = data
        for part in path.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            return node
    return None


def mapping(data: object, *paths: str) -> Json:
    """Like `dig`, but always a dict."""
    found = dig(data, *paths)
    return dict(found) if isinstance(found, Mapping) else {}


def rows(data: object, *paths: str) -> list[Json]:
    """Like `dig`, but always a list of dicts."""
    found = dig(data, *paths)
    return [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []
