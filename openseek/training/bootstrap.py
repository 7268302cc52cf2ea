"""Make a process a rank: environment, accelerator, process group.

The environment is set before torch is loaded (`rank_environment`); the rest happens in the rank.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from openseek.errors import ConfigError

SLURM_NAMES = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "WORLD_SIZE": "SLURM_NTASKS",
    "LOCAL_WORLD_SIZE": "SLURM_NTASKS_PER_NODE",
}


def process_environment(threads: int) -> dict[str, str]:
    """Return the environment in which torch must be loaded.

    One thread a rank and several ranks beat one rank with several threads on a CPU: 1274 against
    933 tokens/s on two cores. The malloc thresholds keep freed activations mapped (13 % faster);
    blocks of 128 MB and more go back at once, because large weights would leave gaps among them
    (a model of 0.46G weights took 14.1 GB instead of 12.6).

    Args:
        threads: CPU threads of one rank.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "MALLOC_MMAP_THRESHOLD_": "134217728",
        "MALLOC_TRIM_THRESHOLD_": "8000000000",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }


def rank_environment(rank: int, world_size: int) -> dict[str, str]:
    """Return what torch.distributed and DeepSpeed read in a rank of one node.

    Without these DeepSpeed looks for MPI (and fails with "No module named 'mpi4py'"). The port is
    never opened: ranks of one node meet in a file.
    """
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
        "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
    }


def cluster_environment() -> dict[str, str]:
    """Return what is missing for a rank that torchrun or srun started.

    torchrun sets all of it. srun sets names of its own, and knows no meeting place: MASTER_ADDR
    and MASTER_PORT must be exported before.

    Raises:
        ConfigError: It was started by neither.
    """
    wanted = dict(SLURM_NAMES)
    found = {ours: os.environ[ours] for ours in wanted if ours in os.environ}
    if "RANK" not in found:
        found = {ours: os.environ[slurm] for ours, slurm in wanted.items() if slurm in os.environ}
    meeting = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing := [n for n in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if n not in found] + meeting:
        raise ConfigError(
            f"the environment of a rank lacks {', '.join(missing)}",
            where="openseek.training.worker",
            mend="Start it with torchrun: `torchrun --standalone --nproc-per-node 2 -m "
            "openseek.training.worker JOB`; or with srun after exporting MASTER_ADDR (the first "
            "node) and MASTER_PORT.",
        )
    if found.get("LOCAL_WORLD_SIZE") == found["WORLD_SIZE"]:  # one node: no name to look up
        found["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return found


def load_libraries() -> Any:
    """Import what a rank needs, and nothing that compiles.

    Returns:
        DeepSpeed's accelerator (cuda, rocm, npu, xpu, hpu, mlu, cpu).
    """
    _leave_out_compilers()
    import deepspeed
    import deepspeed.ops
    from deepspeed.accelerator import get_accelerator

    # Built with a C++ compiler at first use (64 s), and fails without one; gloo does the same work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel(logging.WARNING)
    return get_accelerator()


def _leave_out_compilers() -> None:
    """Keep torch's compiler from being imported where nothing is compiled (5 s, 200 MB a rank).

    - An optimizer imports it to exempt its own methods from compilation. torch keeps the exempt
      version on the function; here it is the function itself.
    - DeepSpeed imports Muon, which compiles kernels at once, to compare types with it: a class
      that nothing is an instance of does the same.
    """
    from torch.optim import Optimizer

    for method in vars(Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:
            vars(plain).setdefault("__dynamo_disable", plain)
    package = "deepspeed.runtime.zero.muon"
    muon, kernels = ModuleType(f"{package}.muon_optimizer"), ModuleType(f"{package}.original_muon")
    vars(muon)["MuonWithAuxAdam"] = type("MuonWithAuxAdam", (), {})
    vars(kernels)["muon_update"] = None
    for module in (muon, kernels):
        sys.modules.setdefault(module.__name__, module)


def n_devices(accelerator: Any) -> int:
    """Return the number of accelerators of this machine; 0 when there is only the CPU."""
    return 0 if accelerator.device_name() == "cpu" else int(accelerator.device_count())


def join(rendezvous: Path | None, *, threads: int, timeout_s: float = 1800.0) -> Any:
    """Join the process group and return this rank's device.

    Args:
        rendezvous: File in which the ranks of one node meet; None: MASTER_ADDR and MASTER_PORT
            of the environment (torchrun).
        threads: CPU threads of this rank.
        timeout_s: How long a collective waits for the other ranks.
    """
    import torch
    from deepspeed import init_distributed

    accelerator = load_libraries()
    torch.set_num_threads(threads)
    count = n_devices(accelerator)
    # Some launchers show a rank all devices of its node, some only its own.
    device = int(os.environ["LOCAL_RANK"]) % count if count else None
    if count:
        accelerator.set_device(device)
    init_distributed(
        dist_backend=accelerator.communication_backend_name() if count else "gloo",
        init_method=f"file://{rendezvous}" if rendezvous else None,
        rank=int(os.environ["RANK"]) if rendezvous else -1,
        world_size=int(os.environ["WORLD_SIZE"]) if rendezvous else -1,
        auto_mpi_discovery=False,
        verbose=False,
        timeout=timedelta(seconds=timeout_s),
    )
    return torch.device(accelerator.device_name(device) if count else "cpu")
