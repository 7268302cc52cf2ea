"""What a step's function is called with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from openseek.artifacts.files import FileSet, Output
from openseek.config.runtime import RuntimeConfig

C = TypeVar("C")


class Progress(Protocol):
    """Receives how far a step is; shown in the terminal and in the Prefect UI."""

    def __call__(self, done: float, total: float, unit: str = "", **info: Any) -> None:
        """Report `done` of `total`, in `unit`, with any figures worth showing (loss=…, rows=…)."""
        ...


def no_progress(done: float, total: float, unit: str = "", **info: Any) -> None:
    """Ignore progress."""


@dataclass
class StepContext(Generic[C]):
    """A step's configuration, inputs and output.

    A step is `fn(ctx) -> metrics`: it reads `ctx.inputs[...]`, publishes files through `ctx.out`,
    skips the shards that `ctx.out.shards()` already has, and returns its metrics as JSON. The
    output depends on `config`, `seed` and the inputs' content alone.

    Attributes:
        config: The step's section of the configuration.
        inputs: Logical name -> files.
        out: Where to put the result.
        runtime: Workers, Ray address, scratch space: nothing that changes an output.
        seed: The run's seed.
        progress: Callback for progress.
        log: Logger with key=value messages.
    """

    config: C
    inputs: Mapping[str, FileSet]
    out: Output
    runtime: RuntimeConfig
    seed: int = 0
    progress: Progress = no_progress
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("openseek.step"))
