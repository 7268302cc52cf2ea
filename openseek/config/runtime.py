"""Where and with what a run happens; nothing here changes any output."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openseek.config.base import Bytes, Section, runtime


class LaunchConfig(Section):
    """How the ranks of a training stage are started; docs/launch.md shows each way.

    The same number of ranks gives the same bytes whichever way is taken.
    """

    kind: Literal["local", "ray", "torchrun"] = runtime(
        "local",
        "local: ranks of this machine, forked; ray: Ray Train on one or many nodes "
        "(runtime.ray_address, else a Ray of its own); torchrun: `command` starts the ranks.",
    )
    folder: str = runtime(
        "",
        "Folder that all nodes see under the same path (NFS, Lustre): job, inputs, checkpoints on "
        "their way to the store, logs. Empty: the step's scratch, for a single node.",
    )
    command: str = runtime(
        "",
        "torchrun: what starts the ranks, with {job} and {world_size} filled in; no shell. Empty: "
        "`torchrun --standalone --nproc-per-node {world_size} -m openseek.training.worker {job}` "
        "on this machine. wait: show that command, and wait for ranks started by hand.",
    )
    cpus_per_rank: float = runtime(
        0.0, "ray: CPUs that a rank reserves. 0: runtime.threads_per_rank.", ge=0
    )
    devices_per_rank: int = runtime(
        1, "ray: accelerators that a rank reserves, where the cluster has any.", ge=1
    )
    resources_per_rank: dict[str, float] = runtime(
        {}, "ray: further resources that a rank reserves, by their name in the cluster."
    )
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = runtime(
        "PACK", "ray: PACK puts ranks on few nodes, SPREAD on many; STRICT_ refuses otherwise."
    )
    max_failures: int = runtime(
        0, "Times that a stage goes on from its last good checkpoint after a rank died.", ge=0
    )
    wait_s: float = runtime(
        600.0, "Seconds within which all ranks must have started (a queue of a cluster).", gt=0
    )
    lost_parent_s: float = runtime(
        20.0,
        "torchrun: seconds after which ranks end themselves when the process that supervises them "
        "shows no sign of life; it covers nodes that no signal reaches.",
        gt=2,
    )


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
    launch: LaunchConfig = runtime(LaunchConfig(), "How training processes are started.")
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
