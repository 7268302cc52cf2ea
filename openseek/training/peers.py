"""Refuse to train with ranks that do not run the same code.

Nodes of a cluster are installed one by one. Ranks of two versions would train, and give a result
that no single version gives.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import socket
from pathlib import Path

import openseek
from openseek.errors import TrainingError

Facts = dict[str, str]


def facts() -> Facts:
    """Return what must be equal on all ranks, and the host's name."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    try:
        own = version("openseek-pipeline")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "host": socket.gethostname(),
        "openseek": own,
        "code": code_digest(),
        "torch": torch.__version__,
        "deepspeed": version("deepspeed"),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


@functools.cache
def code_digest() -> str:
    """Digest this package's sources; unlike a commit it also knows edits that are in none."""
    root = Path(openseek.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def agree() -> None:
    """Compare this rank with all others; a collective.

    Raises:
        TrainingError: They differ; every rank raises the same.
    """
    import torch.distributed as dist

    everyone: list[Facts] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, facts())
    compare(everyone)


def compare(everyone: list[Facts]) -> None:
    """Compare the facts of all ranks, in their order.

    Raises:
        TrainingError: They differ; names a rank of each side.
    """
    first = everyone[0]
    for rank, other in enumerate(everyone):
        for name in first:
            if name != "host" and other.get(name) != first[name]:
                raise TrainingError(
                    f"ranks run different versions: {name} is {first[name]} on rank 0 "
                    f"({first['host']}) and {other.get(name)} on rank {rank} ({other['host']})",
                    where=f"{os.environ.get('WORLD_SIZE', len(everyone))} ranks",
                    mend="Install the same version on all nodes, or run from one shared folder.",
                )
