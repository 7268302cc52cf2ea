"""What runs in Ray's workers: how ranks find each other, and a rank.

Ray's own way takes a free port, gives it back, and opens it again later: two runs on one machine
may take the same. Here rank 0 opens the store at once, on a port that the kernel chooses, and
keeps it open; torch is told that a store is there already, as torchrun tells it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray.train.torch.config import TorchConfig, _TorchBackend

from openseek.training import worker
from openseek.training.channel import sender
from openseek.training.spawner import die_with_parent

_store: Any = None


class Meeting(TorchConfig):
    """Let ranks join through our own bootstrap; Ray only tells them where."""

    @property
    def backend_cls(self) -> type[MeetingBackend]:
        """Return what Ray runs on the workers."""
        return MeetingBackend


class MeetingBackend(_TorchBackend):
    """Open the store on rank 0 and tell all ranks its address."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Run once the workers are there, before they train."""
        host, port = worker_group.execute_single(0, open_store)
        worker_group.execute(meet_at, host=host, port=port)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Leave the process group to the ranks, which end it themselves."""


def open_store() -> tuple[str, int]:
    """Open a store for all ranks in this process, as long as it lives; returns its address."""
    import ray
    import torch.distributed

    global _store
    c10d: Any = torch.distributed  # it offers TCPStore, and leaves it out of its types
    host = ray.util.get_node_ip_address()
    _store = c10d.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    return host, int(_store.port)


def meet_at(host: str, port: int) -> None:
    """Set what torch and DeepSpeed read on joining a process group."""
    os.environ.update(
        {
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
        }
    )
    if name := interface_of(own_address()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def own_address() -> str:
    """Return the address under which Ray reaches this node."""
    import ray

    return str(ray.util.get_node_ip_address())


def interface_of(address: str) -> str:
    """Return the name of the network interface with an address; empty: there is none.

    gloo would else look up the host's name, which often leads to 127.0.1.1 or to another network.
    """
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(a.address == address for a in addresses):
            return name
    return ""


def train_rank(order: dict[str, str]) -> None:
    """Be a rank; runs in a worker of Ray.

    Args:
        order: {"job", "folder"}.

    Raises:
        TrainingError: This node does not see the job.
        RuntimeError: The rank failed, and has written why.
    """
    from ray.train import get_context

    context = get_context()
    rank = context.get_world_rank()
    os.environ.update(
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(context.get_world_size()),
            "LOCAL_RANK": str(context.get_local_rank()),
            "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        }
    )
    die_with_parent(os.getppid())  # Ray's agent on this node
    worker.find_job(Path(order["job"]))
    folder = Path(order["folder"])
    worker.log_to(folder, rank)
    if worker.run_rank(Path(order["job"]), sender(folder), None):
        raise RuntimeError(f"rank {rank} failed and has written why")
