"""What the report is told beside the artifacts themselves."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from openseek.config.base import Section, runtime


class ReportConfig(Section):
    """The report of a run."""

    name: str = Field("run", description="Name of the run, the title of the report.")
    config: dict[str, Any] = Field(
        default_factory=dict, description="The resolved configuration of the run, shown in full."
    )
    dag: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Step -> logical input -> step that makes it, in the order in which steps run. "
        "Empty: derived from the artifacts' lineage.",
    )
    machine: dict[str, Any] = runtime(
        {}, "Facts about the machine (cpu, cores, memory, packages). Empty: from the lineage."
    )
