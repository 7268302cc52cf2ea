"""Where and with what a run happens; nothing here changes any output."""

from __future__ import annotations

from pydantic import Field

from openseek.config.base import Bytes, Section, runtime


class RuntimeConfig(Section):
    """The only section that differs between a laptop and a cluster."""

    store: str = runtime(
        "",
        "Root of the artifact store: a folder or an fsspec URL (s3://bucket/prefix). "
        "$OPENSEEK_STORE overrides it. Empty: .openseek/store.",
    )
    scratch: str = runtime(
        "", "Local folder for temporary files and fetched inputs. Empty: .openseek/scratch."
    )
    downloads: str = runtime(
        "", "Local folder for packages and files that sources fetch. Empty: .openseek/downloads."
    )
    ray_address: str = runtime(
        "",
        "Address of a Ray cluster to join. Empty: $RAY_ADDRESS, else a local Ray for the run.",
    )
    workers: int = runtime(
        0, "Shards processed at the same time. 0: one per CPU of the cluster.", ge=0
    )
    memory_per_worker: Bytes = runtime(
        2_000_000_000, "Memory one data worker may plan for, in bytes (2GB)."
    )
    world_size: int = runtime(
        0, "Training processes. 0: one per accelerator, or one per CPU core without any.", ge=0
    )
    threads_per_rank: int = runtime(1, "CPU threads of one training process.", ge=1)
    lease_s: float = runtime(
        60.0,
        "Seconds after which the lease of a process that stopped renewing it is taken over.",
        gt=0,
    )
    object_store: Bytes = runtime(
        128_000_000,
        "Shared memory of a local Ray, in bytes; shards travel as files, so it stays small.",
    )
    offline: bool = runtime(
        False, "Never fetch anything: sources that are not on this machine count as missing."
    )
    max_bad_fraction: float = Field(
        0.01,
        description="Largest share of rows that may be quarantined before a step fails.",
        ge=0,
        le=1,
        json_schema_extra={"runtime": True},
    )
