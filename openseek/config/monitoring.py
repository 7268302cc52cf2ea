"""What is watched while a stage trains: replicas, stalls, experts, speed."""

from __future__ import annotations

from pydantic import Field, model_validator

from openseek.config.base import Section, runtime


class ExpertAlarmConfig(Section):
    """When an expert counts as dead or overloaded.

    Shares are multiples of an even load: 1 is what every expert of the layer would get.
    """

    dead_below: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="An expert with less than this multiple of an even load may be dead. 0: no "
        "alarm.",
    )
    overloaded_above: float = Field(
        4.0,
        ge=0,
        description="An expert with more than this multiple of an even load may be overloaded. 0: "
        "no alarm.",
    )
    steps: int = Field(
        50, ge=1, description="Optimizer steps in a row after which the alarm is raised, once."
    )

    @model_validator(mode="after")
    def _check(self) -> ExpertAlarmConfig:
        if 0 < self.overloaded_above <= 1:
            raise ValueError(
                f"overloaded_above={self.overloaded_above} is no more than an even load: choose "
                "more than 1, or 0 for no alarm"
            )
        return self


class MonitorConfig(Section):
    """Checks beside the training; only the experts' alarms are part of the result."""

    experts: ExpertAlarmConfig = Field(
        ExpertAlarmConfig(), description="Alarm for dead and overloaded experts."
    )
    replicas_every: int = runtime(
        100,
        "Optimizer steps between two comparisons of the ranks' weights and router biases, which "
        "must be equal bit by bit; they are compared before each checkpoint too. 0: never.",
        ge=0,
    )
    stall_factor: float = runtime(
        30.0, "A step that takes this multiple of the median step is a stall. 0: no watchdog.", ge=0
    )
    stall_floor_s: float = runtime(
        600.0, "Shortest time without a finished step that counts as a stall, in seconds.", gt=0
    )
    stall_patience: float = runtime(
        2.0, "Multiple of the stall's limit after which the stage fails, to be resumed.", gt=1
    )
    peak_flops: float = runtime(
        0.0,
        "Peak FLOP/s of one rank's device in this precision, for the MFU. 0: a matrix product is "
        "timed when the stage starts.",
        ge=0,
    )
